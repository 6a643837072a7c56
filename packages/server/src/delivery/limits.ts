/**
 * How much this process holds and sends at once, per far end. A lane (one far end) that answers earns concurrency; one that
 * hangs loses it, and all such lanes together get a quarter of the slots, so that they never take the healthy ones' place.
 */

export interface LimitSettings {
  /** Attempts in flight in this process. */
  readonly slots: number;
  /** Attempts in flight per lane. */
  readonly laneLimitOf: (lane: string) => number;
  /** Leased deliveries in memory, in flight included. */
  readonly held: number;
}

const FIRST_LIMIT = 2;
/** A lane may queue so many times its limit in memory: enough to stay busy, and a hung lane gives it back at once. */
const QUEUE_FACTOR = 32;
const SUSPECT_SHARE = 0.25;
/** A lane from which nothing has come back for so long, while something is in flight, is taken for hung. */
const HUNG_AFTER_MS = 1_000;
/** One that was taken for hung keeps nothing waiting for so long. */
const SUSPECT_AFTER_MS = 250;
const IDLE_LANES_KEPT = 10_000;

interface Lane<Job> {
  readonly name: string;
  limit: number;
  inFlight: number;
  reserved: number;
  queue: Job[];
  suspect: boolean;
  /** Monotonic: the last answer, or the first start after idling. */
  progressAtMs: number;
}

/** What this process holds: change it through the functions below only. */
export interface Lanes<Job> {
  readonly settings: LimitSettings;
  readonly byName: Map<string, Lane<Job>>;
  /** Lanes with a queued job and a free place, in turn. */
  readonly ready: Set<Lane<Job>>;
  held: number;
  inFlight: number;
  suspectInFlight: number;
}

export function makeLanes<Job>(settings: LimitSettings): Lanes<Job> {
  return { settings, byName: new Map(), ready: new Set(), held: 0, inFlight: 0, suspectInFlight: 0 };
}

/** Takes a place for a delivery that is about to be leased. */
export function reserve<Job>(lanes: Lanes<Job>, name: string): boolean {
  const lane = laneNamed(lanes, name);
  if (lanes.held >= lanes.settings.held || !hasRoom(lane)) return false;
  lane.reserved++;
  lanes.held++;
  return true;
}

export function unreserve<Job>(lanes: Lanes<Job>, name: string): void {
  laneNamed(lanes, name).reserved--;
  lanes.held--;
}

/** Queues a leased job; `reserved` when a place was taken for it. */
export function push<Job>(lanes: Lanes<Job>, name: string, job: Job, reserved: boolean): void {
  const lane = laneNamed(lanes, name);
  if (reserved) lane.reserved--;
  else lanes.held++;
  lane.queue.push(job);
  if (mayStart(lane)) lanes.ready.add(lane);
}

/** The next job to start, lane after lane; undefined when nothing may start. Counts it as in flight. */
export function next<Job>(lanes: Lanes<Job>, nowMs: number): Job | undefined {
  const { slots } = lanes.settings;
  if (lanes.inFlight >= slots) return undefined;
  for (const lane of lanes.ready) {
    if (lane.suspect && shareIsUsed(lanes)) continue;
    lanes.ready.delete(lane);
    const job = lane.queue.shift();
    if (job === undefined) continue;
    if (lane.inFlight === 0) lane.progressAtMs = nowMs;
    lane.inFlight++;
    lanes.inFlight++;
    if (lane.suspect) lanes.suspectInFlight++;
    if (mayStart(lane)) lanes.ready.add(lane); // at the end: the others come first
    return job;
  }
  return undefined;
}

/** An attempt has ended. Not `answered`: the far end is taken for hung; null: it was not asked. */
export function finished<Job>(lanes: Lanes<Job>, name: string, answered: boolean | null, nowMs: number): void {
  const lane = laneNamed(lanes, name);
  if (lane.suspect) lanes.suspectInFlight--;
  lane.inFlight--;
  lanes.inFlight--;
  lanes.held--;
  if (answered !== null) {
    lane.progressAtMs = nowMs;
    lane.limit = answered ? Math.min(lanes.settings.laneLimitOf(name), lane.limit + 1) : 1;
    suspect(lanes, lane, !answered);
  }
  if (mayStart(lane)) lanes.ready.add(lane);
  if (lanes.byName.size > IDLE_LANES_KEPT && load(lane) === 0) lanes.byName.delete(name);
}

/** Marks hung lanes; returns the jobs that waited in their memory queues: they are to be given back. */
export function evictHung<Job>(lanes: Lanes<Job>, nowMs: number): Job[] {
  const evicted: Job[] = [];
  for (const lane of lanes.byName.values()) {
    if (!isStuck(lanes, lane, nowMs)) continue;
    suspect(lanes, lane, true);
    lanes.ready.delete(lane);
    evicted.push(...lane.queue.splice(0));
  }
  lanes.held -= evicted.length;
  return evicted;
}

/** Takes out everything that has not started. */
export function takeQueued<Job>(lanes: Lanes<Job>): Job[] {
  const taken = [...lanes.byName.values()].flatMap((lane) => lane.queue.splice(0));
  lanes.ready.clear();
  lanes.held -= taken.length;
  return taken;
}

/** False when it is not queued (any more). */
export function remove<Job>(lanes: Lanes<Job>, name: string, job: Job): boolean {
  const { queue } = laneNamed(lanes, name);
  const index = queue.indexOf(job);
  if (index < 0) return false;
  queue.splice(index, 1);
  lanes.held--;
  return true;
}

/** Lanes that have no room for more: a claim passes over them. */
export function saturated<Job>(lanes: Lanes<Job>): string[] {
  const noShare = shareIsUsed(lanes);
  return [...lanes.byName.values()].filter((lane) => !hasRoom(lane) || (lane.suspect && noShare)).map((lane) => lane.name);
}

/** How many more jobs may be held. */
export function free<Job>(lanes: Lanes<Job>): number {
  return lanes.settings.held - lanes.held;
}

function laneNamed<Job>(lanes: Lanes<Job>, name: string): Lane<Job> {
  let lane = lanes.byName.get(name);
  if (!lane) {
    const limit = Math.min(FIRST_LIMIT, lanes.settings.laneLimitOf(name));
    lane = { name, limit, inFlight: 0, reserved: 0, queue: [], suspect: false, progressAtMs: 0 };
    lanes.byName.set(name, lane);
  }
  return lane;
}

function load<Job>(lane: Lane<Job>): number {
  return lane.inFlight + lane.reserved + lane.queue.length;
}

function hasRoom<Job>(lane: Lane<Job>): boolean {
  return load(lane) < (lane.suspect ? 1 : lane.limit * QUEUE_FACTOR);
}

/** What waits for a share of the slots that hung lanes use up waits in the database: in memory it would take the healthy lanes' place. */
function isStuck<Job>(lanes: Lanes<Job>, lane: Lane<Job>, nowMs: number): boolean {
  if (lane.inFlight > 0) return nowMs - lane.progressAtMs >= (lane.suspect ? SUSPECT_AFTER_MS : HUNG_AFTER_MS);
  return lane.suspect && lane.queue.length > 0 && shareIsUsed(lanes);
}

function shareIsUsed<Job>({ suspectInFlight, settings }: Lanes<Job>): boolean {
  return suspectInFlight >= settings.slots * SUSPECT_SHARE;
}

function mayStart<Job>(lane: Lane<Job>): boolean {
  return lane.queue.length > 0 && lane.inFlight < (lane.suspect ? 1 : lane.limit);
}

function suspect<Job>(lanes: Lanes<Job>, lane: Lane<Job>, is: boolean): void {
  if (lane.suspect === is) return;
  lane.suspect = is;
  lanes.suspectInFlight += is ? lane.inFlight : -lane.inFlight;
}
