/** What secrets at rest are encrypted with. */
import { mapping, optional, setting, text } from './lib/setting.ts';

const KEY_ID = /^[A-Za-z0-9._-]{1,32}$/;

export const KEY_SETTINGS = [
  optional(
    'encryption_key',
    text('32 bytes in base64', isKey),
    "What tenants' secrets are encrypted with at rest. Development makes one and keeps it in the database.",
    { secret: true },
  ),
  setting(
    'encryption_key_id',
    text('1 to 32 letters, digits, dots, dashes and underscores', (id) => KEY_ID.test(id)),
    ['1', 'The name by which secrets remember encryption_key. A new key needs a new one.'],
    { requires: ['encryption_key'] },
  ),
  setting(
    'encryption_old_keys',
    mapping('a mapping of key ids to keys, 32 bytes in base64 each (in the environment as JSON)', badKey),
    [{}, 'Keys from before, by id: they open what was sealed under them, until `carillon keys re-encrypt` has sealed it again.'],
    { secret: true },
  ),
] as const;

/** Base64 that decodes to 32 bytes and back to the same text, padding aside. */
function isKey(value: string): boolean {
  const bytes = Buffer.from(value, 'base64');
  return bytes.length === 32 && bytes.toString('base64').replace(/=+$/, '') === value.replace(/=+$/, '');
}

function badKey(keys: Readonly<Record<string, string>>): string | undefined {
  return Object.entries(keys).every(([id, key]) => KEY_ID.test(id) && isKey(key)) ? undefined : 'not all are ids and keys';
}

interface Keys {
  readonly encryption_key_id: string;
  readonly encryption_old_keys: Readonly<Record<string, string>>;
}

export function keyProblems({ encryption_key_id: id, encryption_old_keys: old }: Keys): string[] {
  return id in old ? [`encryption_old_keys has the id ${id}, which is that of encryption_key: give the new key an id of its own`] : [];
}
