/**
 * Tells other processes where to look. A hint only says "look": losing one loses nothing.
 *
 * NOTIFY inside a transaction makes commits wait for each other, so hints go out after the commit, in a statement of their
 * own, at most one every 10 ms, and only while another process listens.
 */

export interface Hints {
  /** Something is due. */
  readonly work: () => void;
  readonly inbox: (tenantId: string, userId: string) => void;
  /** Some tenant's event types, or the installation's, have changed: rare enough to say no more. */
  readonly catalog: () => void;
  /** Sends nothing any more. */
  readonly close: () => void;
}

export interface Hint {
  readonly work: boolean;
  /** Any inbox may have changed. */
  readonly all: boolean;
  readonly inbox: readonly (readonly [tenantId: string, userId: string])[];
  /** Any event type may have changed. */
  readonly catalog: boolean;
}

export interface PostgresHintsDeps {
  /** One NOTIFY. */
  readonly notify: (payload: string) => Promise<void>;
  readonly othersExist: () => boolean;
  /** Marks the hints as this process's own. */
  readonly processId: string;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

const MIN_GAP_MS = 10;
/** PostgreSQL takes less than 8,000 bytes. */
export const MAX_PAYLOAD_BYTES = 7_900;
/** Beyond this many users "look everywhere" is the shorter message. */
const MAX_USERS = 2_000;

/** For a process that is alone. */
export function memoryHints(): Hints {
  return { work: () => undefined, inbox: () => undefined, catalog: () => undefined, close: () => undefined };
}

export function postgresHints({ notify, othersExist, processId, log }: PostgresHintsDeps): Hints {
  const waiting = collectHints(processId);
  let busy = false;
  let closed = false;

  function wake(): void {
    if (busy || closed || waiting.isEmpty()) return;
    busy = true;
    setImmediate(send); // what this tick still adds goes along
  }

  function send(): void {
    if (closed) return;
    const told = notify(waiting.take()).catch((error: unknown) => {
      log('hint.not-sent', { error });
    });
    const gap = new Promise((resolve) => {
      setTimeout(resolve, MIN_GAP_MS);
    });
    void Promise.all([told, gap]).then(() => {
      busy = false;
      wake();
    });
  }

  return {
    work: () => {
      if (!othersExist()) return;
      waiting.addWork();
      wake();
    },
    inbox: (tenantId, userId) => {
      if (!othersExist()) return;
      waiting.addInbox(tenantId, userId);
      wake();
    },
    catalog: () => {
      if (!othersExist()) return;
      waiting.addCatalog();
      wake();
    },
    close: () => {
      closed = true;
    },
  };
}

/** What has not been said yet, each user once. */
function collectHints(processId: string) {
  const users = new Set<string>(); // JSON of the pair, as it will be sent
  let work = false;
  let all = false;
  let catalog = false;

  /** As much as fits in one payload. */
  function take(): string {
    const start = JSON.stringify({
      from: processId,
      ...(work ? { work } : {}),
      ...(all ? { all } : {}),
      ...(catalog ? { catalog } : {}),
    }).slice(0, -1);
    work = false;
    all = false;
    catalog = false;
    const pairs: string[] = [];
    let bytes = Buffer.byteLength(start) + ',"inbox":[]}'.length;
    for (const pair of users) {
      bytes += Buffer.byteLength(pair) + 1;
      if (bytes > MAX_PAYLOAD_BYTES) break;
      pairs.push(pair);
      users.delete(pair);
    }
    return pairs.length === 0 ? `${start}}` : `${start},"inbox":[${pairs.join(',')}]}`;
  }

  return {
    take,
    isEmpty: () => !work && !all && !catalog && users.size === 0,
    addWork: () => {
      work = true;
    },
    addCatalog: () => {
      catalog = true;
    },
    addInbox: (tenantId: string, userId: string) => {
      if (all) return;
      users.add(JSON.stringify([tenantId, userId]));
      if (users.size <= MAX_USERS) return;
      all = true;
      users.clear();
    },
  };
}

/** Undefined for this process's own hints. What can't be read means: look everywhere. */
export function readHint(payload: string, self: string): Hint | undefined {
  const hint = parse(payload);
  if (!hint) return { work: true, all: true, inbox: [], catalog: true };
  if (hint.from === self) return undefined;
  return {
    work: hint.work === true,
    all: hint.all === true,
    inbox: Array.isArray(hint.inbox) ? hint.inbox.filter(isPair) : [],
    catalog: hint.catalog === true,
  };
}

function parse(payload: string): { from?: unknown; work?: unknown; all?: unknown; inbox?: unknown; catalog?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(payload);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function isPair(value: unknown): value is [string, string] {
  return Array.isArray(value) && value.length === 2 && value.every((part) => typeof part === 'string');
}
