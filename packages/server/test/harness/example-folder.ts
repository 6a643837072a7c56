/** The folders below `examples/`: started with their own settings, and what their README has people type. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import PostalMime, { type Email } from 'postal-mime';
import { expect } from 'vitest';
import { loadConfig, type Config } from '../../src/config.ts';
import { startMailServer, type MailServer } from './mail-server.ts';
import { endProcesses, freePort, freshDataDir, KEY, spawnCarillon } from './process.ts';
import { startServer, type TestServer } from './server.ts';

export type { Email };
/** As its reader's program sees it. */
export const readMail = (raw: string): Promise<Email> => PostalMime.parse(raw);

const REPOSITORY = resolve(import.meta.dirname, '../../../..');

const OF_THE_HARNESS = ['database.url', 'port', 'bootstrap_key'];

export interface Example {
  readonly server: TestServer;
  readonly mails: MailServer;
  readonly stop: () => Promise<void>;
}

/** With the settings of `examples/<name>/carillon.yaml`, a database of its own and a mail server that keeps what comes. */
export async function startExample(name: string, more: Partial<Config> = {}): Promise<Example> {
  const mails = await startMailServer();
  const file = join(REPOSITORY, 'examples', name, 'carillon.yaml');
  const { config } = loadConfig({
    CARILLON_CONFIG: file,
    CARILLON_EMAIL_SMTP_HOST: '127.0.0.1',
    CARILLON_EMAIL_SMTP_PORT: String(mails.port),
    CARILLON_EMAIL_SMTP_SECURITY: 'none',
    CARILLON_EMAIL_SMTP_FROM: 'bell@carillon.example',
  });
  const own = Object.entries(config).filter(([setting]) => !OF_THE_HARNESS.includes(setting));
  const dir = join(REPOSITORY, config['catalog.dir'] ?? '');
  const server = await startServer({ ...Object.fromEntries(own), 'catalog.dir': dir, ...more });
  return {
    server,
    mails,
    stop: async () => {
      await server.stop();
      await mails.close();
    },
  };
}

/** Starts the product as the README says, in a process of its own, and pastes all that follows. The last call says `wanted`, soon. */
export async function pasteReadme(name: string, wanted: string): Promise<void> {
  const readme = readFileSync(join(REPOSITORY, 'examples', name, 'README.md'), 'utf8');
  const [start = '', ...calls] = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = '']) => block.trim());
  const config = /^CARILLON_CONFIG=(\S+) npm start$/.exec(start)?.[1];
  expect(config, 'the first block starts it').toBeDefined();
  const port = String(await freePort());
  const carillon = spawnCarillon({ CARILLON_CONFIG: config!, CARILLON_PORT: port, CARILLON_DATA_DIR: freshDataDir() });
  const paste = async (call: string) => {
    const env = { PATH: process.env.PATH, KEY };
    const { stdout } = await promisify(execFile)('sh', ['-c', call.replaceAll('localhost:7070', `127.0.0.1:${port}`)], {
      cwd: REPOSITORY,
      env,
    });
    return stdout;
  };
  try {
    await carillon.ready;
    for (const call of calls.slice(0, -1)) await paste(call);
    await expect.poll(() => paste(calls.at(-1)!), { timeout: 20_000, interval: 200 }).toContain(wanted);
  } finally {
    await endProcesses();
  }
}
