/** Writes a catalog into its folder: what `load.ts` then reads are the same versions. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { EventTypeFiles, EventTypeVersion } from '../domain/event-type.ts';
import { bundle, toVersion } from './bundle.ts';
import { filesIn, sharedIn } from './load.ts';
import type { Problem } from './problem.ts';

/** Path below the folder → text. */
export type Layout = ReadonlyMap<string, string>;

/** One level below the folder of the type at most, and nothing that leads out of it. */
const SAFE_FILE = /^[\w-][\w.-]{0,127}(?:\/[\w-][\w.-]{0,127})?$/;
const UNSAFE_TYPE = /^[._]|[\\/]/;

/** What the folder has to hold, or why it can not hold these: types there share their layouts and partials. */
export function layOut(
  directory: string,
  versions: readonly EventTypeVersion[],
): { readonly layout: Layout; readonly problems: readonly Problem[] } {
  const shared: Record<string, string> = {};
  const layout = new Map<string, string>();
  const problems = versions.flatMap((version) => [...nameProblems(version), ...share(version, shared)]);
  for (const { type, files } of versions)
    for (const [name, text] of Object.entries(files)) layout.set(isShared(name) ? name : `${type}/${name}`, text);
  if (problems.length > 0) return { layout, problems };
  const beside = { ...sharedIn(directory), ...shared };
  const others = versions.filter(({ type, version, files }) => toVersion(type, bundle(ownOf(files), beside)).version !== version);
  const message = 'was pushed without a layout that stands beside it here: push it again, or remove the layout';
  return { layout, problems: others.map(({ type }) => ({ file: type, message })) };
}

function nameProblems({ type, files }: EventTypeVersion): Problem[] {
  const unsafe = Object.keys(files).filter((name) => !SAFE_FILE.test(name));
  return [
    ...(UNSAFE_TYPE.test(type) ? [{ file: type, message: 'is no name of a folder: rename the type' }] : []),
    ...unsafe.map((name) => ({ file: `${type}/${name}`, message: 'is no name of a file of an event type' })),
  ];
}

/** Adds its layouts and partials to those of the types before it. */
function share({ type, files }: EventTypeVersion, shared: Record<string, string>): Problem[] {
  return Object.entries(files).flatMap(([name, text]) => {
    if (!isShared(name)) return [];
    shared[name] ??= text;
    return shared[name] === text ? [] : [{ file: name, message: `is another one in ${type}: push the types again that use it` }];
  });
}

function isShared(name: string): boolean {
  return name.startsWith('_');
}

function ownOf(files: EventTypeFiles): EventTypeFiles {
  return Object.fromEntries(Object.entries(files).filter(([name]) => !isShared(name)));
}

export interface Written {
  readonly file: string;
  readonly change: 'written' | 'removed';
}

/** Writes what differs. Files of these types that the layout does not have are removed; other types are left alone. */
export function writeCatalog(directory: string, types: readonly string[], layout: Layout): Written[] {
  const written: Written[] = [];
  for (const [file, text] of layout) {
    const path = join(directory, file);
    if (existsSync(path) && readFileSync(path, 'utf8') === text) continue;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    written.push({ file, change: 'written' });
  }
  for (const type of types) {
    const stale = filesIn(directory, type).filter((file) => !layout.has(file));
    for (const file of stale) {
      rmSync(join(directory, file));
      written.push({ file, change: 'removed' });
    }
  }
  return written;
}
