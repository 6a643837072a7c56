/** What holds for each owner's events: loaded when first asked for, forgotten when somebody changed it. */
import type { TenantSettings } from '../domain/tenant.ts';

export interface Current {
  /** Which version of each type is current; null: retired. */
  readonly types: ReadonlyMap<string, string | null>;
  readonly settings: Pick<TenantSettings, 'unknown_type' | 'default_recipients'>;
}

export interface Loaded {
  readonly types: readonly { readonly type: string; readonly version: string | null }[];
  readonly settings: Current['settings'];
}

export type LoadCurrent = (owner: string) => Promise<Loaded>;

const KNOWN_OWNERS = 10_000;

export interface CurrentTypes {
  readonly of: (owner: string) => Current | Promise<Current>;
  readonly forget: (owner?: string) => void;
}

export function makeCurrentTypes(loadCurrent: LoadCurrent): CurrentTypes {
  const known = new Map<string, Current>();
  /** Loads under way. One that began before a change is not kept: it is no longer the one that stands here. */
  const loading = new Map<string, Promise<Current>>();

  function load(owner: string): Promise<Current> {
    const answer = loadCurrent(owner).then(
      ({ types, settings }): Current => ({ types: new Map(types.map(({ type, version }) => [type, version])), settings }),
    );
    loading.set(owner, answer);
    answer.then(
      (current) => {
        settle(owner, answer, current);
      },
      () => {
        settle(owner, answer, undefined);
      },
    );
    return answer;
  }

  function settle(owner: string, answer: Promise<Current>, current: Current | undefined): void {
    if (loading.get(owner) !== answer) return;
    loading.delete(owner);
    if (!current) return;
    if (known.size >= KNOWN_OWNERS) known.clear();
    known.set(owner, current);
  }

  return {
    of: (owner) => known.get(owner) ?? loading.get(owner) ?? load(owner),
    forget: (owner) => {
      for (const map of [known, loading]) {
        if (owner === undefined) map.clear();
        else map.delete(owner);
      }
    },
  };
}
