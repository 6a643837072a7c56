/** Topics: named sets of users. */
import type { Tx } from '../domain/event.ts';
import { textArray } from './arrays.ts';
import { within } from './database.ts';

export interface TopicKey {
  readonly tenantId: string;
  readonly id: string;
}

export interface Topic {
  readonly id: string;
  readonly createdAt: Date;
}

export interface Subscription {
  readonly topicId: string;
  readonly userId: string;
  readonly createdAt: Date;
}

/** Of one topic or of one user, by id. */
export interface TopicPage {
  readonly tenantId: string;
  /** Exclusive. */
  readonly cursor: string | null;
  readonly backward: boolean;
  readonly limit: number;
}

/** Makes the topic when it is new. Users that are not there are passed over: the others are subscribed, again or for the first time. */
export async function subscribe(tx: Tx, { tenantId, id }: TopicKey, userIds: readonly string[]): Promise<Subscription[]> {
  await within(tx).query({
    name: 'topics-make',
    text: 'insert into carillon.topics (tenant_id, id) values ($1, $2) on conflict do nothing',
    values: [tenantId, id],
  });
  const { rows } = await within(tx).query<Subscription>({
    name: 'topics-subscribe',
    // Users are locked, so that none is erased in between; sorted, so that two batches wait for each other.
    text: `with known as (select u.id from carillon.users u where u.tenant_id = $1 and u.id = any($3::text[]) order by u.id for key share)
           insert into carillon.topic_subscriptions as s (tenant_id, topic_id, user_id)
           select $1, $2, known.id from known order by known.id
               on conflict (tenant_id, topic_id, user_id) do update set user_id = excluded.user_id
        returning s.topic_id as "topicId", s.user_id as "userId", s.created_at as "createdAt"`,
    values: [tenantId, id, textArray(userIds)],
  });
  return rows;
}

/** How many were subscribed. */
export async function unsubscribe(tx: Tx, { tenantId, id }: TopicKey, userIds: readonly string[]): Promise<number> {
  const { rowCount } = await within(tx).query({
    name: 'topics-unsubscribe',
    text: 'delete from carillon.topic_subscriptions where tenant_id = $1 and topic_id = $2 and user_id = any($3::text[])',
    values: [tenantId, id, textArray(userIds)],
  });
  return rowCount;
}

/** False for a topic that is not there. Its subscriptions go with it. */
export async function deleteTopic(tx: Tx, { tenantId, id }: TopicKey): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'topics-delete',
    text: 'delete from carillon.topics where tenant_id = $1 and id = $2',
    values: [tenantId, id],
  });
  return rowCount > 0;
}

export async function getTopic(tx: Tx, { tenantId, id }: TopicKey): Promise<(Topic & { subscribers: number }) | undefined> {
  const { rows } = await within(tx).query<Topic & { subscribers: number }>({
    name: 'topics-get',
    text: `select t.id, t.created_at as "createdAt",
                  (select count(*) from carillon.topic_subscriptions s where s.tenant_id = $1 and s.topic_id = $2) as subscribers
             from carillon.topics t where t.tenant_id = $1 and t.id = $2`,
    values: [tenantId, id],
  });
  return rows[0];
}

export async function listTopics(tx: Tx, { tenantId, cursor, backward, limit }: TopicPage): Promise<Topic[]> {
  const { rows } = await within(tx).query<Topic>({
    name: backward ? 'topics-list-backward' : 'topics-list',
    text: `select t.id, t.created_at as "createdAt" from carillon.topics t
            where t.tenant_id = $1 and t.id ${backward ? '<' : '>'} $2 order by t.id ${backward ? 'desc' : 'asc'} limit $3`,
    values: [tenantId, cursor ?? '', limit], // no id is empty
  });
  return rows;
}

/** Exactly one of `topicId` and `userId`: the list is sorted by the other. */
export async function listSubscriptions(
  tx: Tx,
  { tenantId, cursor, backward, limit, of }: TopicPage & { of: { readonly topicId: string } | { readonly userId: string } },
): Promise<Subscription[]> {
  const [fixed, sorted, value] = 'topicId' in of ? ['topic_id', 'user_id', of.topicId] : ['user_id', 'topic_id', of.userId];
  const { rows } = await within(tx).query<Subscription>({
    name: `topics-by-${fixed}${backward ? '-backward' : ''}`,
    text: `select s.topic_id as "topicId", s.user_id as "userId", s.created_at as "createdAt" from carillon.topic_subscriptions s
            where s.tenant_id = $1 and s.${fixed} = $2 and s.${sorted} ${backward ? '<' : '>'} $3 order by s.${sorted} ${backward ? 'desc' : 'asc'} limit $4`,
    values: [tenantId, value, cursor ?? '', limit],
  });
  return rows;
}
