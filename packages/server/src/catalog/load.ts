/** Reads a catalog from its folder. */
import { readdirSync, readFileSync, statSync, type Dirent } from 'node:fs';
import { join } from 'node:path';
import { hash } from 'node:crypto';
import type { EventTypeFiles, EventTypeVersion } from '../domain/event-type.ts';
import { bundle, toVersion } from './bundle.ts';
import { below, type Problem } from './problem.ts';

const SHARED_FOLDERS = ['_layouts', '_partials'];
const FOLDERS_OF_A_TYPE = ['samples', 'locales'];
const MAX_TYPES = 5_000;

export interface Loaded {
  readonly versions: readonly EventTypeVersion[];
  readonly problems: readonly Problem[];
}

/** `check` says what is wrong with the files of one type. All problems are found, not only the first. */
export function loadCatalog(directory: string, check: (type: string, files: EventTypeFiles) => readonly Problem[]): Loaded {
  const shared = sharedIn(directory);
  const types = entriesOf(directory).filter((entry) => isShown(entry) && !SHARED_FOLDERS.includes(entry.name));
  const problems: Problem[] = types
    .filter((entry) => !entry.isDirectory())
    .map(({ name }) => ({ file: name, message: 'is not the folder of an event type: move it, or remove it' }));
  if (types.length > MAX_TYPES) return { versions: [], problems: [{ file: '.', message: `has more than ${MAX_TYPES} event types` }] };
  const versions = types
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => toVersion(name, bundle(readType(join(directory, name), problems, name), shared)));
  for (const { type, files } of versions) problems.push(...below(type, check(type, files)));
  return { versions, problems: distinct(problems) };
}

/** A partial that is broken is reported once, however many types use it. */
function distinct(problems: readonly Problem[]): Problem[] {
  return [...new Map(problems.map((problem) => [JSON.stringify(problem), problem])).values()];
}

/** Changes whenever a file does: cheap enough to ask for every second. */
export function fingerprint(directory: string): string {
  const facts: string[] = [];
  const visit = (folder: string) => {
    for (const entry of entriesOf(folder)) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) visit(path);
      else {
        const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
        if (stat) facts.push(`${path} ${stat.mtimeNs} ${stat.size}`);
      }
    }
  };
  visit(directory);
  return hash('sha256', facts.sort().join('\n'), 'hex');
}

function readType(folder: string, problems: Problem[], type: string): EventTypeFiles {
  const files: Record<string, string> = {};
  for (const entry of entriesOf(folder).filter(isShown)) {
    if (!entry.isDirectory()) files[entry.name] = readFileSync(join(folder, entry.name), 'utf8');
    else if (FOLDERS_OF_A_TYPE.includes(entry.name)) Object.assign(files, readFolder(folder, entry.name));
    else
      problems.push({
        file: `${type}/${entry.name}`,
        message: `is not known here: only ${FOLDERS_OF_A_TYPE.join(' and ')} may be folders`,
      });
  }
  return files;
}

/** Layouts and partials. */
export function sharedIn(directory: string): EventTypeFiles {
  return Object.assign({}, ...SHARED_FOLDERS.map((folder) => readFolder(directory, folder))) as EventTypeFiles;
}

/** Files of one type, below the catalog's folder. */
export function filesIn(directory: string, type: string): string[] {
  return Object.keys(readType(join(directory, type), [], type)).map((name) => `${type}/${name}`);
}

function readFolder(parent: string, folder: string): EventTypeFiles {
  const files = entriesOf(join(parent, folder)).filter((entry) => isShown(entry) && entry.isFile());
  return Object.fromEntries(files.map(({ name }) => [`${folder}/${name}`, readFileSync(join(parent, folder, name), 'utf8')]));
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Editors and systems leave files with a leading dot. */
function isShown({ name }: Dirent): boolean {
  return !name.startsWith('.');
}
