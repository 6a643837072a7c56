/** What two catalogs have in different words: the files here, and what a server has. Pure. */
import type { EventTypeFiles, EventTypeVersion } from '../domain/event-type.ts';

export type Change = 'added' | 'changed' | 'removed';

export interface FileChange {
  readonly file: string;
  readonly change: Change;
}

export interface TypeChange {
  readonly type: string;
  /** From there to here: `added` is here only, `removed` there only. */
  readonly change: Change;
  readonly files: readonly FileChange[];
}

/** By type. */
export function differencesOf(here: readonly EventTypeVersion[], there: readonly EventTypeVersion[]): TypeChange[] {
  const ours = new Map(here.map((one) => [one.type, one]));
  const theirs = new Map(there.map((one) => [one.type, one]));
  const types = [...new Set([...ours.keys(), ...theirs.keys()])].sort();
  return types.flatMap((type): TypeChange[] => {
    const [mine, other] = [ours.get(type), theirs.get(type)];
    if (mine?.version === other?.version) return [];
    return [{ type, change: changeOf(mine, other), files: fileChanges(mine?.files ?? {}, other?.files ?? {}) }];
  });
}

function fileChanges(here: EventTypeFiles, there: EventTypeFiles): FileChange[] {
  const names = [...new Set([...Object.keys(here), ...Object.keys(there)])].sort();
  return names.filter((file) => here[file] !== there[file]).map((file) => ({ file, change: changeOf(here[file], there[file]) }));
}

function changeOf(here: unknown, there: unknown): Change {
  if (there === undefined) return 'added';
  return here === undefined ? 'removed' : 'changed';
}
