/**
 * The closed list of reasons: why a delivery exists, waits, was skipped, or ended as it did.
 * `number` is what the database stores: never reuse one. docs/reference/reasons.md is generated from here.
 */
interface Reason {
  readonly number: number;
  readonly sentence: string;
  readonly hint: string;
}

/** What one attempt was told. */
const ATTEMPT = {
  timeout: {
    number: 40,
    sentence: 'The far end did not answer in time.',
    hint: 'Look at how long the receiver takes; the total limit is 15 s.',
  },
  unreachable: {
    number: 41,
    sentence: 'No connection to the far end could be made.',
    hint: 'Check name, port and certificate of the receiver.',
  },
  rate_limited: { number: 42, sentence: 'The far end asked us to slow down.', hint: 'Carillon waits as long as the far end asked for.' },
  provider_error: { number: 43, sentence: 'The far end answered with an error.', hint: 'The answer is in the timeline.' },
  unauthorized: { number: 44, sentence: 'The far end refused our credentials.', hint: 'Check the credentials of this channel.' },
  address_gone: { number: 45, sentence: 'The far end said that this address is gone for good.', hint: 'Give the user a new address.' },
  address_rejected: { number: 46, sentence: 'The far end refused this address.', hint: 'Check the address for typing errors.' },
  content_rejected: { number: 47, sentence: 'The far end refused this content.', hint: 'The answer is in the timeline.' },
  egress_blocked: {
    number: 48,
    sentence: 'The address leads to a network that Carillon must not call.',
    hint: 'Use a public address, or have the operator allow the range.',
  },
  template_failed: {
    number: 80,
    sentence: 'Its template could not be rendered within its limits.',
    hint: 'The timeline says why; push a mended version of the event type.',
  },
  internal: { number: 49, sentence: 'Something failed inside Carillon.', hint: 'The log has the details under the delivery id.' },
} as const satisfies Record<string, Reason>;

/** What was decided about a delivery. */
const DECISION = {
  sent: { number: 1, sentence: 'It was handed over and the far end took it.', hint: 'Nothing to do.' },
  queued: { number: 2, sentence: 'It is due and waits for a free worker.', hint: 'Nothing to do.' },
  sending: { number: 3, sentence: 'It is being sent right now.', hint: 'Nothing to do.' },
  retrying: { number: 4, sentence: 'The last attempt failed; another one follows.', hint: 'The timeline has the answer of each attempt.' },
  in_order: {
    number: 50,
    sentence: 'It waits for an earlier delivery with the same ordering_key.',
    hint: 'Look at the earlier one: GET /v1/deliveries lists what is pending at that address.',
  },
  opted_out: {
    number: 10,
    sentence: 'The user has switched this channel off.',
    hint: 'The user can switch it on again in the preferences.',
  },
  no_address: {
    number: 11,
    sentence: 'No address is known for this user on this channel.',
    hint: 'Set it with PUT /v1/users/{id}, or pass it inline.',
  },
  suppressed: {
    number: 12,
    sentence: 'The address was refused for good earlier and is not used again.',
    hint: 'Set a new address with PUT /v1/users/{id}.',
  },
  user_unknown: { number: 13, sentence: 'There is no user with this id.', hint: 'Create the user, or set users.create to on_mention.' },
  user_inactive: { number: 14, sentence: 'The user is not active.', hint: 'Set active to true with PUT /v1/users/{id}.' },
  decision_failed: {
    number: 125,
    sentence: 'What is stored of the user could not be read as preferences when the event was routed.',
    hint: 'The log says what threw, under the ids of event and user. Set the preferences anew, then report the event again to this user.',
  },
  channel_disabled: { number: 15, sentence: 'This channel is not set up on this installation.', hint: 'The operator can configure it.' },
  severity_filtered: {
    number: 85,
    sentence: 'The user does not want this severity on this channel.',
    hint: 'GET /v1/users/{id}/preferences/effective says which preference it was.',
  },
  tag_excluded: {
    number: 86,
    sentence: 'It carries a tag that the user does not want on this channel.',
    hint: 'GET /v1/users/{id}/preferences/effective says which preference it was.',
  },
  tag_not_included: {
    number: 87,
    sentence: 'It carries none of the tags that the user wants on this channel.',
    hint: 'GET /v1/users/{id}/preferences/effective says which preference it was.',
  },
  quiet_hours_held: {
    number: 88,
    sentence: 'The user has quiet hours; it is sent when they end.',
    hint: 'Nothing to do. Severities in `let_through` and what is critical are sent at once.',
  },
  excluded: {
    number: 81,
    sentence: 'The event or its type leaves this user out, for example as the one who caused it.',
    hint: 'See `exclude` of the request and of the event type.',
  },
  bounced: {
    number: 65,
    sentence: 'It came back: its address takes no mail.',
    hint: 'The address is on the suppression list. Give the user a new one.',
  },
  bounced_soft: { number: 66, sentence: 'It came back, for a reason that may pass.', hint: 'The report is in the timeline.' },
  complained: {
    number: 67,
    sentence: 'Its recipient reported it as unwanted.',
    hint: 'The address is on the suppression list. Do not write to it again.',
  },
  delayed: {
    number: 101,
    sentence: 'Its channel waits after the event, as the event type says; it is sent then.',
    hint: 'Nothing to do. See `delay` in event.yaml.',
  },
  read_elsewhere: {
    number: 102,
    sentence: 'The user has seen it in the inbox before it was due here.',
    hint: 'Nothing to do. See `only_if` in event.yaml.',
  },
  throttled: {
    number: 89,
    sentence: 'The user has been told as much as the throttle allows in its window.',
    hint: 'Wait, set throttle_exempt on the request, or clear the counters with POST /v1/users/{id}/clear-throttle.',
  },
  digest_waiting: {
    number: 110,
    sentence: 'It waits in a digest, with others that become one message.',
    hint: 'Nothing to do. `digest` of the delivery says until when.',
  },
  digested: {
    number: 111,
    sentence: 'It was delivered in a digest.',
    hint: 'Nothing to do. `digest` of the delivery names the message.',
  },
  digest_sending: {
    number: 112,
    sentence: 'Its digest has closed and is on its way.',
    hint: 'Nothing to do. `digest` of the delivery names the message.',
  },
  cancelled: { number: 20, sentence: 'It was cancelled before it was sent.', hint: 'Nothing to do.' },
  expired: { number: 21, sentence: 'Its expiry time passed before it could be sent.', hint: 'Give it a later expires_at.' },
  retries_exhausted: {
    number: 22,
    sentence: 'Every attempt failed and none is left.',
    hint: 'Mend the cause, then POST /v1/deliveries/{id}/retry.',
  },
  destination_disabled: {
    number: 98,
    sentence: 'The destination is switched off, was deleted, or is disabled after failures.',
    hint: 'Switch it on again; what is held goes out with POST /v1/destinations/{id}/recover.',
  },
  event_not_enabled: {
    number: 99,
    sentence: 'This event is no longer switched on for the destination.',
    hint: 'Switch it on in events of the destination.',
  },
  address_removed: {
    number: 100,
    sentence: 'This mailbox is no longer on the list of the destination.',
    hint: 'Add it to email_addresses again.',
  },
} as const satisfies Record<string, Reason>;

export const REASONS = { ...DECISION, ...ATTEMPT } as const;

export type AttemptReason = keyof typeof ATTEMPT;
export const ATTEMPT_REASONS = Object.keys(ATTEMPT) as readonly AttemptReason[];
export type ReasonCode = keyof typeof REASONS;

const byNumber = new Map<number, ReasonCode>(Object.entries(REASONS).map(([code, { number }]) => [number, code as ReasonCode]));

/** Throws on a number that no release has written: the database is newer than the program. */
export function reasonOf(number: number): ReasonCode {
  const code = byNumber.get(number);
  if (code === undefined) throw new Error(`reason ${number} is unknown to this version`);
  return code;
}
