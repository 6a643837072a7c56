/** The end user's side over the network: the whole inbox, and a stream that follows it across every interruption. */
import { KEY } from '../harness/process.ts';

export interface Item {
  readonly id: string;
  readonly event_id: string;
  readonly sequence: number;
  readonly metadata: { readonly mark: string };
}

export interface Inbox {
  readonly items: readonly Item[];
  readonly total: number;
  readonly unread_count: number;
  readonly sequence: number;
}

export async function tokenOf(url: string, userId: string): Promise<string> {
  const response = await fetch(`${url}/v1/users/${userId}/token`, { method: 'POST', headers: { authorization: `Bearer ${KEY}` } });
  return ((await response.json()) as { token: string }).token;
}

/** All pages of it. */
export async function inboxOf(url: string, token: string): Promise<Inbox> {
  const items: Item[] = [];
  for (let after = ''; ; ) {
    const response = await fetch(`${url}/v1/inbox?limit=100${after}`, { headers: { authorization: `Bearer ${token}` } });
    if (response.status !== 200) throw new Error(`the inbox answered ${response.status}: ${await response.text()}`);
    const page = (await response.json()) as Omit<Inbox, 'items'> & { data: Item[]; next_cursor: string | null };
    items.push(...page.data);
    if (page.next_cursor === null) return { items, total: page.total, unread_count: page.unread_count, sequence: page.sequence };
    after = `&after=${encodeURIComponent(page.next_cursor)}`;
  }
}

export interface Follower {
  /** In the order they came. */
  readonly notifications: readonly Item[];
  /** Events other than `notification` and `counts`. */
  readonly others: readonly string[];
  readonly connections: () => number;
  /** The last `retry:` of each connection that the server ended by itself, in milliseconds. */
  readonly sentAway: readonly number[];
  readonly stop: () => Promise<void>;
}

const RECONNECT_MS = 50;

/** Comes again with Last-Event-ID whenever it is cut off, as a browser does, and sooner. */
export function follow(url: string, token: string): Follower {
  const notifications: Item[] = [];
  const others: string[] = [];
  const sentAway: number[] = [];
  const stopping = new AbortController();
  let connections = 0;
  let lastId: string | undefined = '0';

  function take(block: string): { retry?: number } {
    const fields = new Map(block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]));
    lastId = fields.get('id') ?? lastId;
    const event = fields.get('event');
    if (event === 'notification') notifications.push(JSON.parse(fields.get('data')!) as Item);
    else if (event !== undefined && event !== 'counts') others.push(event);
    return { retry: Number(fields.get('retry')) };
  }

  async function read(): Promise<void> {
    const headers = { authorization: `Bearer ${token}`, ...(lastId !== undefined && { 'last-event-id': lastId }) };
    const response = await fetch(`${url}/v1/inbox/stream`, { headers, signal: stopping.signal });
    connections++;
    let rest = '';
    let last: { retry?: number } = {};
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      const blocks = (rest + chunk).split('\n\n');
      rest = blocks.pop()!;
      for (const block of blocks) last = take(block);
    }
    sentAway.push(last.retry ?? Number.NaN);
  }

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      await read().catch(() => undefined); // cut off, or nobody there yet
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
    }
  }

  const following = loop();
  return {
    notifications,
    others,
    connections: () => connections,
    sentAway,
    stop: async () => {
      stopping.abort();
      await following;
    },
  };
}
