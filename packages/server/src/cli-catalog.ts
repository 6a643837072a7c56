/** Commands about event types: the files of a folder, and what a running server has of them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { differencesOf, type FileChange, type TypeChange } from './catalog/differences.ts';
import { CatalogError, describeProblem, type Problem } from './catalog/problem.ts';
import { layOut, writeCatalog } from './catalog/write.ts';
import { makeClient, type Client } from './cli-client.ts';
import { CommandFailed, EXIT, JSON_LINES, makeOutput, type Output } from './cli-output.ts';
import { ConfigError, loadConfig, type Config } from './config.ts';
import type { EventTypeVersion } from './domain/event-type.ts';
import { catalogDirectory, knownChannels, mistakesIn, readCatalog } from './main-catalog.ts';
import { channelsIn } from './main-channels.ts';

interface Options {
  readonly url?: string;
  readonly key?: string;
  readonly json?: boolean;
  readonly prune?: boolean;
  readonly sample?: string;
  readonly to?: readonly string[];
}

const DEFAULT_DIRECTORY = 'catalog';
const MARKS = { added: '+', changed: '~', removed: '-', unchanged: '=', refused: '!' } as const;

export function catalogCommands(program: Command): void {
  const command = (name: string, description: string) =>
    program
      .command(name)
      .description(description)
      .option(...JSON_LINES);
  const remote = (name: string, description: string) =>
    command(name, description).option('--url <url>', 'where the server is (api.url)').option('--key <key>', 'an API key (api.key)');
  command(
    'validate [dir]',
    'Check the event types in a folder: unknown variables, missing texts, content past a limit of its channel.',
  ).action((dir: string | undefined, options: Options) => validate(settings(dir, options), makeOutput(options.json)));
  remote('push [dir]', 'Make the event types of a folder current on a server, those that differ. Each is pushed whole, or not at all.')
    .option('--prune', 'retire the types of the tenant that the folder does not have')
    .action((dir: string | undefined, options: Options) => push(settings(dir, options), options));
  remote('pull [dir]', 'Write the event types that a server has into a folder.').action((dir: string | undefined, options: Options) =>
    pull(settings(dir, options), options),
  );
  remote('diff [dir]', 'Say what a folder and a server have in different words. Ends with 1 when there is anything.').action(
    (dir: string | undefined, options: Options) => diff(settings(dir, options), options),
  );
  remote('preview <type> [dir]', "Say what the server would tell whom, for each of the type's samples. Nothing is sent.")
    .option('--sample <name>', 'only this one, of samples/<name>.json')
    .option('--to <users...>', "whom to tell, instead of the type's recipients")
    .action((type: string, dir: string | undefined, options: Options) => preview(type, settings(dir, options), options));
}

function settings(dir: string | undefined, { url, key }: Options): Config {
  const given = Object.entries({ 'catalog.dir': dir, 'api.url': url, 'api.key': key }).filter(([, value]) => value !== undefined);
  return loadConfig(undefined, undefined, Object.fromEntries(given)).config;
}

function clientOf(config: Config): Client {
  return makeClient({ url: config['api.url'], key: config['api.key'] });
}

function directoryOf(config: Config): string {
  const directory = catalogDirectory(config);
  if (directory === undefined) throw new ConfigError(['there is no folder named catalog here: name the folder of the event types']);
  return directory;
}

function read(config: Config): Promise<readonly EventTypeVersion[]> {
  return readCatalog(directoryOf(config), knownChannels(config, channelsIn(config)));
}

/** Ends with 1 when something is wrong. */
async function validate(config: Config, output: Output): Promise<void> {
  const say = (problem: Problem, level: string) => {
    output.say({ level, ...problem }, describeProblem(problem));
  };
  try {
    const versions = await read(config);
    const mistakes = await mistakesIn(versions);
    for (const mistake of mistakes) say(mistake, 'mistake');
    const found = mistakes.length === 0 ? 'nothing wrong' : `${mistakes.length} mistakes`;
    output.say({ types: versions.length, mistakes: mistakes.length }, `${versions.length} event types, ${found}`);
    if (mistakes.length > 0) process.exitCode = EXIT.failed;
  } catch (error) {
    if (!output.json || !(error instanceof CatalogError)) throw error;
    for (const problem of error.problems) say(problem, 'problem');
    process.exitCode = EXIT.failed;
  }
}

interface Listed {
  readonly type: string;
  readonly version: string;
  readonly source: 'files' | 'api';
}

interface Detail {
  readonly type: string;
  readonly version: string;
  readonly files: Readonly<Record<string, string>>;
}

const pathOf = (type: string) => `/v1/event-types/${encodeURIComponent(type)}`;

/** Files are asked for only where there is a difference to tell. */
async function compared(client: Client, here: readonly EventTypeVersion[]): Promise<{ changes: TypeChange[]; listed: readonly Listed[] }> {
  const listed = await client.list<Listed>('/v1/event-types');
  const ours = new Map(here.map(({ type, version }) => [type, version]));
  const there: EventTypeVersion[] = [];
  for (const one of listed) {
    const same = ours.get(one.type) === one.version;
    there.push(same ? { ...one, files: {} } : await client.call<Detail>('GET', pathOf(one.type)));
  }
  return { changes: differencesOf(here, there), listed };
}

async function diff(config: Config, { json }: Options): Promise<void> {
  const output = makeOutput(json);
  const here = await read(config);
  const { changes } = await compared(clientOf(config), here);
  for (const { type, change, files } of changes) output.say({ type, change, files }, lineOf(type, change, files));
  if (!output.json && changes.length === 0) output.say({}, `${here.length} event types, nothing differs`);
  if (changes.length > 0) process.exitCode = EXIT.failed;
}

async function push(config: Config, { json, prune = false }: Options): Promise<void> {
  const output = makeOutput(json);
  const here = await read(config);
  const client = clientOf(config);
  const { changes, listed } = await compared(client, here);
  const own = new Set(listed.flatMap(({ type, source }) => (source === 'api' ? [type] : [])));
  const versions = new Map(here.map((one) => [one.type, one]));
  for (const one of changes) {
    const version = versions.get(one.type);
    if (version) await pushOne(client, output, { ...one, version });
    else if (prune && own.has(one.type)) await retire(client, output, one.type);
  }
  const untouched = here.length - changes.filter(({ change }) => change !== 'removed').length;
  output.say({ types: here.length, unchanged: untouched }, `${here.length} event types, ${untouched} unchanged`);
}

/** A type that is refused does not keep the others back. */
async function pushOne(
  client: Client,
  output: Output,
  { type, change, files, version }: TypeChange & { version: EventTypeVersion },
): Promise<void> {
  try {
    const { warnings } = await client.call<{ warnings: readonly string[] }>('PUT', pathOf(type), { files: version.files });
    const more = warnings.map((warning) => `\n    ${warning}`).join('');
    output.say({ type, change, version: version.version, files, warnings }, `${lineOf(type, change, files)}${more}`);
  } catch (error) {
    if (!(error instanceof CommandFailed) || error.exitCode === EXIT.unreachable) throw error;
    output.say(
      { type, change: 'refused', code: error.code, detail: error.message, hint: error.hint },
      `${MARKS.refused} ${type}  refused: ${error.message}`,
    );
    process.exitCode = EXIT.failed;
  }
}

async function retire(client: Client, output: Output, type: string): Promise<void> {
  await client.call('DELETE', pathOf(type));
  output.say({ type, change: 'removed', files: [] }, lineOf(type, 'removed', []));
}

function lineOf(type: string, change: TypeChange['change'], files: readonly FileChange[]): string {
  const which = change === 'changed' ? `: ${files.map((one) => `${MARKS[one.change]}${one.file}`).join(' ')}` : '';
  return `${MARKS[change]} ${type}  ${change}${which}`;
}

async function pull(config: Config, { json }: Options): Promise<void> {
  const output = makeOutput(json);
  const client = clientOf(config);
  const versions: EventTypeVersion[] = [];
  for (const { type } of await client.list<Listed>('/v1/event-types')) versions.push(await client.call<Detail>('GET', pathOf(type)));
  const directory = config['catalog.dir'] ?? DEFAULT_DIRECTORY;
  const { layout, problems } = layOut(directory, versions);
  if (problems.length > 0) throw new CatalogError(directory, problems);
  const types = versions.map(({ type }) => type);
  const written = writeCatalog(directory, types, layout);
  for (const { file, change } of written)
    output.say({ file, change }, `${change === 'written' ? MARKS.changed : MARKS.removed} ${file}  ${change}`);
  output.say(
    { types: types.length, files: written.length },
    `${types.length} event types, ${written.length} files changed in ${directory}`,
  );
}

interface Previewed {
  readonly warnings: readonly string[];
  readonly recipients: readonly {
    readonly user_id: string;
    readonly subject: string | null;
    readonly body: string | null;
    readonly warnings: readonly string[];
    readonly channels: readonly Foreseen[];
  }[];
  readonly destinations: readonly (Foreseen & { readonly name: string })[];
}

interface Foreseen {
  readonly channel: string;
  readonly result: string;
  readonly reason: string | null;
  readonly warnings: readonly string[];
}

async function preview(type: string, config: Config, { json, sample, to }: Options): Promise<void> {
  const output = makeOutput(json);
  const client = clientOf(config);
  const samples = samplesIn(config, type) ?? samplesOf(await client.call<Detail>('GET', pathOf(type)));
  const wanted = [...samples].filter(([name]) => sample === undefined || name === sample);
  if (wanted.length === 0) {
    const hint =
      samples.size > 0 ? `There are ${[...samples.keys()].join(', ')}.` : `Add ${type}/samples/one.json with the data of an event.`;
    throw new CommandFailed(`The type ${type} has no such sample.`, { code: 'sample_missing', hint });
  }
  for (const [name, data] of wanted) {
    const answer = await client.call<Previewed>('POST', '/v1/events/preview', { type, data: JSON.parse(data) as unknown, to });
    output.say({ sample: name, ...answer }, readable(name, answer));
  }
}

/** Undefined when the folder does not have the type: then the server's own samples are used. */
function samplesIn(config: Config, type: string): ReadonlyMap<string, string> | undefined {
  const directory = catalogDirectory(config);
  if (directory === undefined || !existsSync(join(directory, type))) return undefined;
  const folder = join(directory, type, 'samples');
  const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.json')) : [];
  return new Map(files.sort().map((file) => [file.slice(0, -'.json'.length), readFileSync(join(folder, file), 'utf8')]));
}

function samplesOf({ files }: Detail): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(files).flatMap(([file, text]) => {
      const name = /^samples\/(.+)\.json$/.exec(file)?.[1];
      return name === undefined ? [] : [[name, text] as const];
    }),
  );
}

function readable(sample: string, { warnings, recipients, destinations }: Previewed): string {
  const warned = (all: readonly string[], indent: string) => all.map((warning) => `${indent}! ${warning}`);
  const told = ({ channel, result, reason, warnings: missed }: Foreseen) => [
    `    ${channel}  ${result}${reason === null ? '' : ` (${reason})`}`,
    ...warned(missed, '      '),
  ];
  const people = recipients.flatMap(({ user_id: user, subject, body, warnings: missed, channels }) => [
    `  ${user}  ${subject ?? ''}`,
    ...(body ? [`    ${body.replaceAll('\n', '\n    ')}`] : []),
    ...warned(missed, '    '),
    ...channels.flatMap(told),
  ]);
  return [sample, ...warned(warnings, '  '), ...people, ...destinations.flatMap((one) => [`  ${one.name}`, ...told(one)])].join('\n');
}
