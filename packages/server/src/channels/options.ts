/** Options of channels and providers, as the settings hand them over. */
import { z } from 'zod';

/** Throws one line that names each field and never shows a value: it may be a secret. */
export function readOptions<T>(schema: z.ZodType<T>, options: unknown): T {
  const parsed = schema.safeParse(options ?? {});
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => [path.join('.'), message].filter((part) => part !== '').join(': '));
  throw new Error(problems.join('; '));
}

export function noOptions(options: unknown): void {
  readOptions(z.strictObject({}), options);
}

/** The base of a provider's interface, for tests, regions and proxies. */
export function baseUrl(standard: string) {
  return z
    .url({ protocol: /^https?$/ })
    .transform((url) => url.replace(/\/+$/, ''))
    .default(standard);
}
