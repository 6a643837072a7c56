/**
 * A user's open streams get what changed in the inbox, in the order of its numbers.
 *
 * From memory goes only what follows directly on the last number sent: the answers of two commits can reach this process in
 * reverse. For everything else the database is asked, once for all streams of the user. A reader that is behind gets nothing
 * more until its connection has drained, and is then served from the database too: what it misses is never kept in memory.
 */
import type { InboxChange } from '../domain/notification.ts';
import { makeCatchUp, type CatchUp, type CatchUpDeps, type Owner, type Sink, type Stream, type User } from './catch-up.ts';
import { countsFrame, itemFrame } from './frames.ts';

export interface FeedDeps extends CatchUpDeps {
  /** The current numbers of those users that have one. */
  readonly sequences: (owners: readonly Owner[]) => Promise<readonly (Owner & { sequence: number })[]>;
  readonly now: () => Date;
  readonly random: () => number;
  readonly maxStreams: number;
}

export interface Subscription extends Owner {
  /** The last number that the reader has; null: it starts now. */
  readonly after: number | null;
  /** The stream ends when the reader's token does. */
  readonly expiresAt: Date;
  readonly sink: Sink;
}

/** What the connection reports. */
export interface OpenStream {
  readonly drained: () => void;
  readonly closed: () => void;
}

export interface Feed {
  /** After a commit. In any order. */
  readonly publish: (changes: readonly InboxChange[]) => void;
  /** Something may have changed: another process said so. */
  readonly look: (tenantId: string, userId: string) => void;
  /** Any hint may have been lost. Never rejects. */
  readonly lookAll: () => Promise<void>;
  readonly open: (subscription: Subscription) => OpenStream;
  /** Call it once a second: heartbeats, stalled readers, ended tokens. */
  readonly beat: () => void;
  /** Sends every reader away, to come again at a time of its own; also those that come from now on. */
  readonly drain: () => Promise<void>;
  readonly size: () => number;
}

const LOOK_AT_ONCE = 1_000;
const END_AT_ONCE = 500;
/** Readers that were sent away come back within these. */
const RETRY_MS = { least: 1_000, spread: 9_000 };
const NO_STREAM: OpenStream = { drained: () => undefined, closed: () => undefined };

export function makeFeed(deps: FeedDeps): Feed {
  const readers = makeReaders();
  const catchUp = makeCatchUp(deps);
  let draining = false;
  const retryMs = () => RETRY_MS.least + deps.random() * RETRY_MS.spread;

  function open({ tenantId, userId, after, expiresAt, sink }: Subscription): OpenStream {
    if (draining || readers.size() >= deps.maxStreams) {
      sink.end(retryMs());
      return NO_STREAM;
    }
    const user = readers.userOf({ tenantId, userId });
    const stream: Stream = {
      user,
      sink,
      expiresAtMs: expiresAt.getTime(),
      sent: after,
      known: after ?? 0,
      counted: null,
      behind: false,
      wants: 0,
      blocked: false,
      open: true,
    };
    readers.add(stream);
    catchUp.want(stream);
    return { drained: () => catchUp.drained(stream), closed: () => readers.remove(stream) };
  }

  return {
    publish: (changes) => {
      for (const change of changes) tell(readers.of(change), change, catchUp);
    },
    look: (tenantId, userId) => readers.of({ tenantId, userId }).forEach(catchUp.want),
    lookAll: () => lookAll(deps, readers.users(), catchUp),
    open,
    beat: () => beat(readers, deps.now().getTime()),
    drain: () => {
      draining = true;
      return sendAway(readers, retryMs);
    },
    size: readers.size,
  };
}

type Readers = ReturnType<typeof makeReaders>;

/** Who reads what. */
function makeReaders() {
  const users = new Map<string, User>();
  let size = 0;
  return {
    size: () => size,
    users: (): User[] => [...users.values()],
    streams: (): Stream[] => [...users.values()].flatMap((user) => user.streams),
    of: (owner: Owner): readonly Stream[] => users.get(keyOf(owner))?.streams ?? [],
    userOf: ({ tenantId, userId }: Owner): User =>
      users.get(keyOf({ tenantId, userId })) ?? { tenantId, userId, streams: [], queued: false },
    add: (stream: Stream): void => {
      users.set(keyOf(stream.user), stream.user);
      stream.user.streams = [...stream.user.streams, stream];
      size++;
    },
    remove: (stream: Stream): void => {
      if (!stream.open) return;
      stream.open = false;
      stream.user.streams = stream.user.streams.filter((other) => other !== stream);
      if (stream.user.streams.length === 0) users.delete(keyOf(stream.user));
      size--;
    },
  };
}

function beat(readers: Readers, nowMs: number): void {
  for (const stream of readers.streams()) {
    if (stream.expiresAtMs > nowMs) stream.sink.beat();
    else {
      readers.remove(stream);
      stream.sink.end();
    }
  }
}

/** Some hundred at a time, so that other work gets its turn. */
async function sendAway(readers: Readers, retryMs: () => number): Promise<void> {
  for (const [index, stream] of readers.streams().entries()) {
    readers.remove(stream);
    stream.sink.end(retryMs());
    if (index % END_AT_ONCE === END_AT_ONCE - 1) await new Promise((resolve) => setImmediate(resolve));
  }
}

function keyOf({ tenantId, userId }: Owner): string {
  return `${tenantId}\0${userId}`;
}

/** Sends a change to the streams that it directly follows on. All of those stand at the same number, so they get the same frames. */
function tell(streams: readonly Stream[], change: InboxChange, { want }: CatchUp): void {
  let frames: string | undefined;
  for (const stream of streams) {
    if (stream.behind || stream.blocked || !follows(change, stream.sent)) {
      if (stream.sent === null || stream.behind || change.sequence > stream.sent) want(stream);
      continue;
    }
    frames ??= change.items.map((item) => itemFrame(item, stream.known)).join('') + countsFrame(change);
    stream.sent = change.sequence;
    stream.known = change.sequence;
    stream.counted = change.sequence;
    stream.blocked = !stream.sink.write(frames);
  }
}

function follows({ items, sequence }: InboxChange, sent: number | null): boolean {
  return sent !== null && items[0]?.sequence === sent + 1 && sequence === sent + items.length;
}

/** Compares everyone's number with the database's, and asks only for those that differ. */
async function lookAll({ sequences, log }: FeedDeps, users: readonly User[], { want }: CatchUp): Promise<void> {
  try {
    for (let from = 0; from < users.length; from += LOOK_AT_ONCE) {
      const some = users.slice(from, from + LOOK_AT_ONCE);
      const rows = await sequences(some.map(({ tenantId, userId }) => ({ tenantId, userId })));
      const numbers = new Map(rows.map((row) => [keyOf(row), row.sequence]));
      for (const user of some) user.streams.filter(({ sent }) => sent !== (numbers.get(keyOf(user)) ?? 0)).forEach(want);
    }
  } catch (error) {
    log('stream.look-failed', { error }); // the next look finds what this one missed
  }
}
