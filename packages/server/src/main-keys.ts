/** The encryption keys of an installation, and the change to a new one. Part of the composition root. */
import type { Config } from './config.ts';
import { systemClock } from './lib/clock.ts';
import { makeVault, type Vault } from './lib/crypto.ts';
import type { Database } from './store/database.ts';
import { openDatabase, UnfitDatabase } from './store/open.ts';
import { keysInUse, reseal } from './store/sealed.ts';
import { developmentKey } from './store/settings.ts';
import type { Log } from './telemetry/log.ts';

/** The id of the one that development makes. */
const FIRST_KEY_ID = '1';
const BATCH = 500;

/** Throws when something in the database is sealed under a key that is not configured. */
export async function openVault(config: Config, database: Database, madeKey: string | undefined): Promise<Vault> {
  const { encryption_key: key, encryption_key_id: id, encryption_old_keys: old } = config;
  const keys = new Map(Object.entries(old).map(([oldId, text]) => [oldId, Buffer.from(text, 'base64')]));
  // Development may be given a key of its own when it has already made one.
  const made =
    madeKey ??
    (config.env === 'development' && key !== undefined && id !== FIRST_KEY_ID ? await developmentKey(database.engine) : undefined);
  if (made !== undefined && !keys.has(FIRST_KEY_ID)) keys.set(FIRST_KEY_ID, Buffer.from(made, 'base64'));
  if (key !== undefined) keys.set(id, Buffer.from(key, 'base64'));
  const missing = [...(await keysInUse(database.engine)).keys()].filter((used) => !keys.has(used));
  if (missing.length > 0)
    throw new UnfitDatabase(
      `secrets in the database are sealed under the encryption key ${missing.join(', ')}, which is not configured: add it to encryption_old_keys`,
    );
  return makeVault({ keys, current: key === undefined ? FIRST_KEY_ID : id });
}

export interface Resealed {
  readonly count: number;
  /** Of the current key. */
  readonly keyId: string;
}

/** Batch after batch, each committed: it may be stopped at any time and begun again, and the server may run meanwhile. */
export async function reEncrypt(config: Config, log: Log): Promise<Resealed> {
  const opened = await openDatabase({
    url: config['database.url'],
    dataDir: config.data_dir,
    production: config.env === 'production',
    retentionDays: config['retention.days'],
    connections: { engine: 2, api: 1 },
    clock: systemClock(),
    log,
  });
  try {
    const { database } = opened;
    const made = config.encryption_key === undefined ? await developmentKey(database.engine) : undefined;
    const vault = await openVault(config, database, made);
    let count = 0;
    for (let batch = -1; batch !== 0; count += batch) batch = await database.transaction((tx) => reseal(tx, vault, BATCH));
    return { count, keyId: config.encryption_key === undefined ? FIRST_KEY_ID : config.encryption_key_id };
  } finally {
    await opened.close();
  }
}
