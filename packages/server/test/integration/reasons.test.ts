/** Every reason of the closed list: brought about through the API at a real far end, and read back with its sentence and hint. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { REASONS, type ReasonCode } from '../../src/domain/reason.ts';
import { eventually } from '../harness/core.ts';
import { ATTEMPTS } from './fixtures/reason-attempts.ts';
import { DECISIONS } from './fixtures/reason-decisions.ts';
import { linesOf, reasonWorld, type Rows, type World } from './fixtures/reason-world.ts';

const ROWS: Rows = { ...DECISIONS, ...ATTEMPTS };
const FOLDER = 'packages/server/test/integration/fixtures';

let world: World;
beforeAll(async () => {
  world = await reasonWorld();
});
afterAll(() => world.close());

test('the table has every reason of domain/reason.ts, and no other', () => {
  const codes = Object.keys(REASONS);
  const missing = codes.filter((code) => !Object.hasOwn(ROWS, code));
  const gone = Object.keys(ROWS).filter((code) => !codes.includes(code));
  const example = "async (world) => world.send({ subject: 's', to: [await world.user()], channels: ['email'] })";
  expect(
    missing,
    `${missing.join(', ')}: add a row each to DECISIONS in ${FOLDER}/reason-decisions.ts, or to ATTEMPTS in reason-attempts.ts when it is what an ` +
      `attempt was told: \`${missing[0] ?? ''}: ${example}\`, which does through the API what ends in that reason and resolves with the event`,
  ).toEqual([]);
  expect(gone, `${gone.join(', ')}: no longer in domain/reason.ts, so take the row out of ${FOLDER}`).toEqual([]);
});

test.each(Object.keys(ROWS))('%s is brought about, and says what it means and what to do', async (code) => {
  const came = await ROWS[code]!(world);
  const { sentence, hint } = REASONS[code as ReasonCode];
  await eventually(async () => (await linesOf(came)).filter(({ reason }) => reason === code)).toContainEqual(
    expect.objectContaining({ reason: code, sentence, hint }),
  );
});
