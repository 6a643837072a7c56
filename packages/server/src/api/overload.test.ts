import { expect, test } from 'vitest';
import { atMost } from './overload.ts';

test('work beyond the limit is refused before it begins, and there is room again when some has ended', async () => {
  const within = atMost(2);
  const ends: (() => void)[] = [];
  let begun = 0;
  const work = () => {
    begun += 1;
    return new Promise<string>((resolve) => {
      ends.push(() => {
        resolve('done');
      });
    });
  };
  const running = [within(work), within(work)];
  await expect(within(work)).rejects.toMatchObject({ code: 'unavailable', retryAfterS: 1 });
  expect(begun).toBe(2);
  ends[0]!();
  await running[0];
  const third = within(work);
  ends[1]!();
  ends[2]!();
  expect(await Promise.all([...running, third])).toEqual(['done', 'done', 'done']);
});

test('what fails gives its room back', async () => {
  const within = atMost(1);
  await expect(within(() => Promise.reject(new Error('planted')))).rejects.toThrow('planted');
  expect(await within(async () => 'done')).toBe('done');
});
