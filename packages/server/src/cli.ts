/** The commands. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { renderReferences } from './api/references.ts';
import { ConfigError, loadConfig, ROLES, SETTINGS, type Config } from './config.ts';
import { CatalogError } from './catalog/problem.ts';
import { catalogCommands } from './cli-catalog.ts';
import { CommandFailed, EXIT, EXIT_CODES, JSON_LINES, makeOutput } from './cli-output.ts';
import { reEncrypt } from './main-keys.ts';
import { welcome } from './api/welcome.ts';
import { EmbeddedError } from './store/embedded.ts';
import { migrate, MigrationError, rolesSql } from './store/migrate.ts';
import { UnfitDatabase } from './store/open.ts';
import { makeLog } from './telemetry/log.ts';

/** `npm start` passes a signal on that the process group has had already: a repeat so soon is not a second wish. */
const SECOND_WISH_AFTER_MS = 1_000;

const program = new Command('carillon')
  .description('Notification infrastructure: events in, the right people told.')
  .addHelpText('after', EXIT_CODES)
  .exitOverride();
program
  .command('serve', { isDefault: true })
  .description('Run the server: all of it in one process, or the named roles.')
  .option('--roles <list>', `comma-separated: ${ROLES.join(', ')}`)
  .action(async ({ roles }: { roles?: string }) => {
    await serve(load(roles === undefined ? {} : { roles: roles.split(',') }));
  });
program
  .command('migrate')
  .description('Bring the database in DATABASE_URL to the schema of this version.')
  .option('--print-roles', 'print the SQL that a DBA runs where our user may not create roles')
  .option(...JSON_LINES)
  .action(async (options: { printRoles?: boolean; json?: boolean }) => {
    await migrateOutside(load(), options);
  });
catalogCommands(program);
program
  .command('keys')
  .description('Keys of the installation.')
  .command('re-encrypt')
  .description('Seal every secret in the database again under encryption_key. The server may run, and it may be stopped and begun again.')
  .option(...JSON_LINES)
  .action(async ({ json }: { json?: boolean }) => {
    const config = load();
    const { log, close } = makeLog({ level: 'error' });
    const { count, keyId } = await reEncrypt(config, log);
    close();
    makeOutput(json).say({ count, key_id: keyId }, `${count} secrets were sealed again under key ${keyId}; none is left under another`);
  });
program.command('generate').description('Write openapi.json and docs/reference below this folder, from the code.').action(generate);

await program.parseAsync().catch((error: unknown) => {
  fail(error);
});

function load(overrides: Partial<Record<keyof Config, unknown>> = {}): Config {
  return loadConfig(undefined, undefined, overrides).config;
}

/** The whole server is read by the commands that start it, and by no other. */
async function readServer() {
  return import('./main.ts');
}

async function serve(config: Config): Promise<void> {
  const { log, close } = makeLog({ level: config['log.level'] });
  const wish = wishToEnd();
  const { start } = await readServer();
  const startedMs = performance.now();
  const running = await start(config, log);
  process.stdout.write(welcome({ url: running.url, bootstrapKey: running.bootstrapKey, production: config.env === 'production' }));
  log('server.started', { url: running.url, roles: config.roles, startMs: Math.round(performance.now() - startedMs), pid: process.pid });
  await wish;
  log('server.stopping', {});
  await running.stop();
  log('server.stopped', {});
  close();
  process.exit(0); // leaving by itself, Node takes its handlers down first, and the repeat of a signal would still kill it
}

/**
 * Resolves with the first wish to end; a second one ends the process on the spot. The handlers are there before anything is
 * started and stay: without them a signal would leave the embedded PostgreSQL running.
 */
function wishToEnd(): Promise<void> {
  return new Promise((resolve) => {
    let firstMs: number | undefined;
    const onSignal = () => {
      firstMs ??= performance.now();
      if (performance.now() - firstMs > SECOND_WISH_AFTER_MS) process.exit(EXIT.failed);
      resolve();
    };
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, onSignal);
  });
}

function userOf(url = ''): string {
  const parsed = URL.parse(url.replace('@/', '@localhost/')); // the URL of a Unix socket has no host
  return decodeURIComponent(parsed?.username ?? '');
}

async function migrateOutside(config: Config, { printRoles = false, json }: { printRoles?: boolean; json?: boolean }): Promise<void> {
  const url = config['database.url'];
  if (printRoles) {
    process.stdout.write(`${rolesSql(userOf(url) || 'carillon')}\n`);
    return;
  }
  if (url === undefined) throw new ConfigError(['DATABASE_URL is not set; the embedded database is migrated at each start']);
  const applied = await migrate({ connectionString: url });
  makeOutput(json).say({ applied }, applied.length > 0 ? `applied: ${applied.join(', ')}` : 'nothing to apply');
}

/** On a database that lives as long as the command: the document says what is really served. */
async function generate(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'carillon-generate-'));
  // As production serves it: without the pages of development.
  const secrets = { secret: randomBytes(32).toString('hex'), encryption_key: randomBytes(32).toString('base64') };
  const overrides = { ...secrets, env: 'production', data_dir: directory, port: 0, 'log.level': 'error' };
  const { config } = loadConfig({}, () => undefined, overrides);
  const { log, close } = makeLog({ level: config['log.level'] });
  const { start } = await readServer();
  const running = await start(config, log);
  const files = { ...renderReferences(SETTINGS), 'openapi.json': `${JSON.stringify(running.openApi(), null, 2)}\n` };
  await running.stop();
  close();
  rmSync(directory, { recursive: true, force: true });
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
}

function fail(error: unknown): void {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? EXIT.done : EXIT.misused); // it has said what is wrong
  process.stderr.write(`${textOf(error)}\n`);
  process.exit(exitCodeOf(error));
}

function textOf(error: unknown): string {
  if (error instanceof CommandFailed) return `${error.message}\n${error.hint} (${error.code})`;
  if (!(error instanceof Error)) return String(error);
  const known = [ConfigError, CatalogError, EmbeddedError, MigrationError, UnfitDatabase].some((kind) => error instanceof kind);
  return known ? error.message : (error.stack ?? error.message);
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommandFailed) return error.exitCode;
  return error instanceof ConfigError ? EXIT.misused : EXIT.failed;
}
