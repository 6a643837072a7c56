/** Serves streams from the database: those that just opened, and those that something was not sent to from memory. */
import type { InboxItem } from '../domain/notification.ts';
import { countsFrame, itemFrame, positionFrame, resyncFrame } from './frames.ts';

/** Where a stream's frames go. */
export interface Sink {
  /** False: that was taken, but the reader is behind. Nothing more until `drained`. */
  readonly write: (frames: string) => boolean;
  /** Called once a second. */
  readonly beat: () => void;
  /** Ends the answer. `retryMs`: when the reader shall come again. */
  readonly end: (retryMs?: number) => void;
}

export interface Owner {
  readonly tenantId: string;
  readonly userId: string;
}

export interface Stream {
  readonly user: User;
  readonly sink: Sink;
  readonly expiresAtMs: number;
  /** Last number sent; null before the first answer of the database. */
  sent: number | null;
  /** The reader's picture was whole as of this number: what was created later is new to it. */
  known: number;
  /** The number whose counts it was told; null before the first. */
  counted: number | null;
  /** The database has to be asked. */
  behind: boolean;
  /** Grows with every reason to ask: an answer that began before the last one is not the last word. */
  wants: number;
  /** The connection has to drain first. */
  blocked: boolean;
  open: boolean;
}

export interface User extends Owner {
  streams: Stream[];
  /** Waits for the database, or is being served. */
  queued: boolean;
}

/** What the database says of one user, as of one moment. */
export interface Changes {
  /** In order of their numbers, tombstones included. */
  readonly items: readonly InboxItem[];
  readonly sequence: number;
  /** A reader below it can't be told the changes one by one. */
  readonly floor: number;
  readonly unread: number;
  readonly total: number;
}

export interface CatchUpDeps {
  /** What changed after a number, at most `limit` items. Null: no items. */
  readonly changesSince: (wanted: Owner & { after: number | null; limit: number }) => Promise<Changes>;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

export interface CatchUp {
  /** Asks the database for this stream, as soon as it may. */
  readonly want: (stream: Stream) => void;
  /** The connection takes more. */
  readonly drained: (stream: Stream) => void;
}

const PAGE = 200;
/** A reader that is further behind than this loads the list again. */
const MAX_REPLAY = 1_000;
/** Questions at a time: ten thousand readers that come back at once must not take every connection. */
const MAX_ASKING = 4;
const ASK_AGAIN_MS = 1_000;

export function makeCatchUp(deps: CatchUpDeps): CatchUp {
  const queue: User[] = [];
  let asking = 0;

  function enqueue(user: User): void {
    if (user.queued || !user.streams.some(isWaiting)) return;
    user.queued = true;
    queue.push(user);
    pump();
  }

  function pump(): void {
    while (asking < MAX_ASKING) {
      const user = queue.shift();
      if (!user) return;
      asking++;
      void serve(deps, user).then((served) => {
        asking--;
        if (served) release(user);
        else setTimeout(() => release(user), ASK_AGAIN_MS).unref();
        pump();
      });
    }
  }

  function release(user: User): void {
    user.queued = false;
    enqueue(user);
  }

  return {
    want: (stream) => {
      stream.behind = true;
      stream.wants++;
      enqueue(stream.user);
    },
    drained: (stream) => {
      stream.blocked = false;
      enqueue(stream.user);
    },
  };
}

/** One question for all of a user's streams. False when the database did not answer. Never rejects. */
async function serve({ changesSince, log }: CatchUpDeps, { tenantId, userId, streams }: User): Promise<boolean> {
  const waiting = streams.filter(isWaiting).map((stream) => ({ stream, wants: stream.wants }));
  const positions = waiting.flatMap(({ stream: { sent } }) => (sent === null ? [] : [sent]));
  try {
    const changes = await changesSince({ tenantId, userId, after: positions.length === 0 ? null : Math.min(...positions), limit: PAGE });
    for (const { stream, wants } of waiting) {
      if (stream.open && bring(stream, changes)) stream.behind = stream.wants !== wants;
    }
    return true;
  } catch (error) {
    log('stream.catch-up-failed', { error });
    return false;
  }
}

function isWaiting({ behind, blocked }: Stream): boolean {
  return behind && !blocked;
}

/** Sends what a stream has not had of these changes. True when it is then as far as they go. */
function bring(stream: Stream, changes: Changes): boolean {
  const { sent } = stream;
  if (sent === null) {
    arrive(stream, changes, positionFrame(changes.sequence));
    return true;
  }
  if (isTooFar(sent, changes)) {
    arrive(stream, changes, resyncFrame(changes.sequence));
    return true;
  }
  for (const item of changes.items) {
    if (item.sequence <= sent) continue;
    stream.blocked = !stream.sink.write(itemFrame(item, stream.known));
    stream.sent = item.sequence;
    if (stream.blocked) return false;
  }
  if (changes.items.length === PAGE) return false;
  arrive(stream, changes, positionFrame(changes.sequence));
  return true;
}

/** Below the floor, ahead of the database (it was restored), or so far behind that the list is the shorter way. */
function isTooFar(sent: number, { sequence, floor }: Changes): boolean {
  return sent < floor || sent > sequence || sequence - sent > MAX_REPLAY;
}

/** Says nothing to a reader that was there already. */
function arrive(stream: Stream, changes: Changes, frame: string): void {
  if (stream.counted === changes.sequence) return;
  stream.sent = changes.sequence;
  stream.known = changes.sequence;
  stream.counted = changes.sequence;
  stream.blocked = !stream.sink.write(frame + countsFrame(changes));
}
