/**
 * The catalog as this process knows it: which versions are current, and the versions themselves, opened. Asked for every
 * event, so that what is known costs no wait; told by hints, and by asking now and then, when somebody else changed it.
 */
import { CarillonError } from '../domain/error.ts';
import type { Asked, CurrentType } from '../domain/event-type.ts';
import { makeLru } from '../lib/lru.ts';
import { makeCurrentTypes, type Current, type LoadCurrent } from './current.ts';
import type { Sandbox } from './sandbox.ts';
import type { StoredVersion, Version } from './version.ts';

/** Owner of the operator's files, whose templates are trusted. */
const INSTALLATION = '';

/** `D` is where to read from: a transaction, or null for one statement by itself. */
export interface CatalogDeps<D> {
  readonly loadCurrent: LoadCurrent;
  readonly findVersion: (from: D | null, tenantId: string, version: string) => Promise<StoredVersion | undefined>;
  readonly sandbox: Sandbox;
}

type Perhaps<T> = T | Promise<T>;

export interface Catalog<D> {
  /** Null: the catalog has no such type, and the tenant has its events told in general words. */
  readonly find: (tenantId: string, type: string) => Perhaps<CurrentType | null>;
  /** Those of these types that the tenant refuses, as the catalog does not have them. */
  readonly refused: (tenantId: string, types: readonly string[]) => Promise<readonly string[]>;
  /** Throws for a version that is not stored. */
  readonly version: (from: D | null, tenantId: string, version: string) => Perhaps<Version>;
  /** What is current for this owner has changed; without one, anybody's may have. */
  readonly forget: (owner?: string) => void;
}

const OPEN_VERSIONS = 2_000;

export function makeCatalog<D>(deps: CatalogDeps<D>): Catalog<D> {
  const opened = makeLru<Version>(OPEN_VERSIONS);
  const current = makeCurrentTypes(deps.loadCurrent);

  async function open(from: D | null, tenantId: string, id: string): Promise<Version> {
    const stored = await deps.findVersion(from, tenantId, id);
    if (!stored) throw new Error(`the event type's version ${id} is not stored`);
    const { openVersion } = await import('./version.ts'); // with all that templates need: who has none does not load it
    const made = await openVersion(stored, stored.owner === INSTALLATION ? null : deps.sandbox);
    opened.set(`${stored.owner}\0${id}`, made);
    return made;
  }

  const version: Catalog<D>['version'] = (from, tenantId, id) =>
    opened.get(`${INSTALLATION}\0${id}`) ?? opened.get(`${tenantId}\0${id}`) ?? open(from, tenantId, id);

  function choose(both: readonly [Current, Current], tenantId: string, type: string): Perhaps<CurrentType | null> {
    const id = chosen(both, type);
    const { unknown_type: unknown, default_recipients: defaults } = both[0].settings;
    if (id === null) return unknown === 'refuse' ? refusing(type) : null;
    const found = version(null, tenantId, id);
    if (defaults === undefined) return found;
    return found instanceof Promise ? found.then((one) => withDefaults(one, defaults)) : withDefaults(found, defaults);
  }

  return {
    version,
    refused: async (tenantId, types) => {
      const both = await Promise.all([current.of(tenantId), current.of(INSTALLATION)]);
      return both[0].settings.unknown_type === 'refuse' ? types.filter((type) => chosen(both, type) === null) : [];
    },
    forget: current.forget,
    find: (tenantId, type) => {
      const [own, shared] = [current.of(tenantId), current.of(INSTALLATION)];
      if (own instanceof Promise || shared instanceof Promise)
        return Promise.all([own, shared]).then((both) => choose(both, tenantId, type));
      return choose([own, shared], tenantId, type);
    },
  };
}

/** A tenant's own, also when it is retired, before the installation's. */
function chosen([own, shared]: readonly [Current, Current], type: string): string | null {
  const mine = own.types.get(type);
  return (mine === undefined ? shared.types.get(type) : mine) ?? null;
}

function withDefaults({ version, fill }: CurrentType, defaults: Asked['defaults']): CurrentType {
  return { version, fill: (asked) => fill({ ...asked, defaults }) };
}

function refusing(type: string): CurrentType {
  const detail = `The catalog has no type ${type}.`;
  const refusal = new CarillonError('event_type_unknown', detail, { errors: [{ pointer: '/type', code: 'unknown_type', detail }] });
  return { version: '', fill: () => Promise.reject(refusal) };
}
