/**
 * The catalog as this process knows it: which versions are current, and the versions themselves, opened. Asked for every
 * event, so that what is known costs no wait; told by hints, and by asking now and then, when somebody else changed it.
 */
import type { CurrentType, EventTypeVersion } from '../domain/event-type.ts';
import { makeLru } from '../lib/lru.ts';
import { makeCurrentTypes, type Current, type LoadCurrent } from './current.ts';
import type { Sandbox } from './sandbox.ts';
import { openVersion, type Version } from './version.ts';

/** Owner of the operator's files, whose templates are trusted. */
const INSTALLATION = '';

interface Stored extends EventTypeVersion {
  readonly owner: string;
}

/** `D` is where to read from: a transaction, or null for one statement by itself. */
export interface CatalogDeps<D> {
  readonly currentVersions: LoadCurrent;
  readonly findVersion: (from: D | null, tenantId: string, version: string) => Promise<Stored | undefined>;
  readonly sandbox: Sandbox;
}

type Perhaps<T> = T | Promise<T>;

export interface Catalog<D> {
  /** Null: the catalog has no such type. */
  readonly find: (tenantId: string, type: string) => Perhaps<CurrentType | null>;
  /** Throws for a version that is not stored. */
  readonly version: (from: D | null, tenantId: string, version: string) => Perhaps<Version>;
  /** What is current for this owner has changed; without one, anybody's may have. */
  readonly forget: (owner?: string) => void;
}

const OPEN_VERSIONS = 2_000;

export function makeCatalog<D>(deps: CatalogDeps<D>): Catalog<D> {
  const opened = makeLru<Version>(OPEN_VERSIONS);
  const current = makeCurrentTypes(deps.currentVersions);

  async function open(from: D | null, tenantId: string, id: string): Promise<Version> {
    const stored = await deps.findVersion(from, tenantId, id);
    if (!stored) throw new Error(`the event type's version ${id} is not stored`);
    const made = openVersion(stored, stored.owner === INSTALLATION ? null : deps.sandbox);
    opened.set(`${stored.owner}\0${id}`, made);
    return made;
  }

  const version: Catalog<D>['version'] = (from, tenantId, id) =>
    opened.get(`${INSTALLATION}\0${id}`) ?? opened.get(`${tenantId}\0${id}`) ?? open(from, tenantId, id);

  /** A tenant's own, also when it is retired, before the installation's. */
  function choose([own, shared]: readonly [Current, Current], tenantId: string, type: string): Perhaps<CurrentType | null> {
    const mine = own.get(type);
    const id = mine === undefined ? shared.get(type) : mine;
    return id === undefined || id === null ? null : version(null, tenantId, id);
  }

  return {
    version,
    forget: current.forget,
    find: (tenantId, type) => {
      const [own, shared] = [current.of(tenantId), current.of(INSTALLATION)];
      if (own instanceof Promise || shared instanceof Promise)
        return Promise.all([own, shared]).then((both) => choose(both, tenantId, type));
      return choose([own, shared], tenantId, type);
    },
  };
}
