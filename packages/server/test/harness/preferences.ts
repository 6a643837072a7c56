/** What preference routes need, for tests without a server: explained by the real router, in UTC. */
import type { PreferenceDeps } from '../../src/api/preferences.ts';
import { checkUrl } from '../../src/lib/egress-url.ts';
import { checkMailbox } from '../../src/lib/mailbox.ts';
import { addDays, instantsOf, localOf } from '../../src/lib/zone.ts';
import { nextRun } from '../../src/lib/cron.ts';
import { explain } from '../../src/router/decide.ts';
import { closingTime } from '../../src/router/digest.ts';
import { quietUntil } from '../../src/router/quiet-hours.ts';
import { rememberDefaults } from '../../src/store/preferences.ts';
import { knownChannels } from './channels.ts';
import type { TestDatabase } from './database.ts';

export function preferenceDeps(db: TestDatabase): PreferenceDeps {
  const channels = knownChannels();
  return {
    checkMailbox,
    checkUrl: (text) => checkUrl(text, { allowLoopback: false, allowRanges: [] }),
    database: db.database,
    channels,
    defaults: rememberDefaults(() => performance.now()),
    explain: ({ tenantId, user }, subject, { at, defaults }) =>
      explain(tenantId, subject, user, {
        channels,
        defaultsOf: () => defaults,
        quietUntil: (hours, zone) => quietUntil({ localOf, instantsOf, addDays }, hours, { zone, at }),
        closesAt: (times, zone) => closingTime(times, { zone, at }, nextRun),
      }),
    now: () => new Date(),
    wake: () => undefined,
  };
}
