/** How much one caller may ask. */
import type { RateLimit } from './domain/tenant.ts';
import { parseDuration } from './lib/duration.ts';
import { optional, type SettingType } from './lib/setting.ts';
import { z } from 'zod';

const MAX_REQUESTS = 1_000_000_000;
const SECOND_MS = 1_000;
const DAY_MS = 86_400_000;

function rateOf(text: string): RateLimit | undefined {
  const [, requests = '0', window = ''] = /^(\d{1,10})\/(\w+)$/.exec(text) ?? [];
  const windowMs = parseDuration(window) ?? 0;
  const isWindow = windowMs % SECOND_MS === 0 && windowMs >= SECOND_MS && windowMs <= DAY_MS;
  if (!isWindow || Number(requests) < 1 || Number(requests) > MAX_REQUESTS) return undefined;
  return { requests: Number(requests), window_seconds: windowMs / SECOND_MS };
}

const rate: SettingType<RateLimit> = {
  schema: z.string().transform((text, context) => {
    const found = rateOf(text);
    if (found) return found;
    context.addIssue({ code: 'custom', message: 'Invalid input' });
    return z.NEVER;
  }),
  words: 'requests in a time of whole seconds up to 1d, such as 600/1m',
  show: ({ requests, window_seconds: seconds }) => `${requests}/${seconds}s`,
};

export const LIMIT_SETTINGS = [
  optional('limits.key', rate, 'What one API key may ask, unless the key has a limit of its own. Not set: as much as it likes.'),
  optional(
    'limits.tenant',
    rate,
    "What all keys of a tenant may ask together, unless the tenant's settings say otherwise. Not set: as much as they like.",
  ),
] as const;
