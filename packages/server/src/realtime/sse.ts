/** One stream's connection: headers, heartbeats, and the end of readers that don't read. */
import type { ServerResponse } from 'node:http';
import type { Sink } from './catch-up.ts';
import type { OpenStream } from './feed.ts';
import { HEARTBEAT_FRAME, retryFrame } from './frames.ts';

export interface SseDeps {
  readonly monotonicMs: () => number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  /** How long an idle stream stays silent. */
  readonly heartbeatMs: number;
  /** Bytes that a reader may leave unread: from here on nothing more is written. */
  readonly maxUnsent: number;
  /** How long a reader may take nothing before it is cut. */
  readonly maxStallMs: number;
  /** A reader was cut. */
  readonly cut: () => void;
}

/** When a reader whose connection broke comes again. */
const RETRY_MS = 2_000;
/** What was written before the end may still be under way for as long. */
const LINGER_MS = 5_000;

/** Makes the response (hijacked from the framework) a stream. Status 200 in every case: any other ends a browser's EventSource for good. */
export function openSse(
  raw: ServerResponse,
  headers: Readonly<Record<string, string>>,
  open: (sink: Sink) => OpenStream,
  deps: SseDeps,
): void {
  raw.shouldKeepAlive = false; // nothing follows a stream on its connection
  raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no', ...headers });
  raw.socket?.setNoDelay(true);
  raw.write(retryFrame(RETRY_MS));
  const { drained, closed } = open(makeSink(raw, deps));
  raw.on('drain', drained);
  raw.on('close', closed);
  raw.on('error', closed);
  if (raw.destroyed) closed();
}

function makeSink(raw: ServerResponse, deps: SseDeps): Sink {
  const { monotonicMs, log, heartbeatMs, maxUnsent } = deps;
  let wroteAt = monotonicMs();
  const isStuck = watchStall(raw, deps);

  function write(frames: string): boolean {
    wroteAt = monotonicMs();
    raw.write(frames);
    return raw.writableLength < maxUnsent;
  }

  return {
    write,
    beat: () => {
      const now = monotonicMs();
      if (isStuck(now)) {
        log('stream.cut', { unsent: raw.writableLength });
        deps.cut();
        raw.destroy();
      } else if (raw.writableLength === 0 && now - wroteAt >= heartbeatMs) write(HEARTBEAT_FRAME);
    },
    end: (retryMs) => {
      raw.end(retryMs === undefined ? undefined : retryFrame(retryMs));
      raw.socket?.setTimeout(LINGER_MS, () => raw.destroy());
    },
  };
}

/**
 * Asked once a second whether the reader has stopped: it took nothing for `maxStallMs`, or nothing between two questions at
 * both of which its share of memory was full. A burst that the network has not carried yet is no reason.
 */
function watchStall(raw: ServerResponse, { maxUnsent, maxStallMs }: SseDeps): (now: number) => boolean {
  let stalledAt: number | undefined;
  let taken = 0;
  let wasFull = false;
  return (now) => {
    const before = taken;
    taken = bytesTaken(raw);
    const isFull = raw.writableLength >= maxUnsent;
    const filled = isFull && wasFull;
    wasFull = isFull;
    if (raw.writableLength === 0) stalledAt = undefined;
    else if (stalledAt === undefined || taken > before) stalledAt = now;
    else return filled || now - stalledAt > maxStallMs;
    return false;
  };
}

function bytesTaken({ socket }: ServerResponse): number {
  return socket ? socket.bytesWritten - socket.writableLength : 0;
}
