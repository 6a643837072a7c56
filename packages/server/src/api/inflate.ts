/** Compressed bodies, inflated while they arrive and within the limit of their route: a bomb goes off in a few KiB. */
import { Transform, type Readable } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { CarillonError } from '../domain/error.ts';

const INFLATERS = { gzip: createGunzip, 'x-gzip': createGunzip, deflate: createInflate, br: createBrotliDecompress } as const;
type Encoding = keyof typeof INFLATERS;

/** What answers tell those who sent another one. */
export const TAKEN_ENCODINGS = 'gzip, deflate, br';

/** Throws `unsupported_media_type`. One encoding only: layers multiply. */
export function readEncoding(header: string): Encoding {
  const name = header.trim().toLowerCase();
  if (Object.hasOwn(INFLATERS, name)) return name as Encoding;
  throw new CarillonError('unsupported_media_type', `A body may be compressed with one of ${TAKEN_ENCODINGS}.`, {
    errors: [{ pointer: '/content-encoding', code: 'unsupported', detail: `One of ${TAKEN_ENCODINGS}.` }],
  });
}

/** Fails with `body_too_large` once it holds more than `limit`, and with `malformed_json` for what is not compressed like that. */
export function inflate(payload: Readable, encoding: Encoding, limit: number): Readable {
  const inflater = INFLATERS[encoding]();
  let received = 0;
  let inflatedBytes = 0;
  const bounded = new Transform({
    transform: (chunk: Buffer, _encoding, next) => {
      inflatedBytes += chunk.length;
      next(inflatedBytes > limit ? new CarillonError('body_too_large', `Inflated, the body has more than ${limit} bytes.`) : null, chunk);
    },
  });
  payload.on('data', (chunk: Buffer) => (received += chunk.length));
  payload.on('error', (error) => bounded.destroy(error));
  inflater.on('error', (error) => {
    bounded.destroy(new CarillonError('malformed_json', `The body is not what its Content-Encoding (${encoding}) says.`, { cause: error }));
  });
  bounded.on('close', () => {
    payload.unpipe(inflater);
    payload.resume(); // the rest is thrown away
    inflater.destroy();
  });
  payload.pipe(inflater).pipe(bounded);
  // The framework compares it with Content-Length.
  return Object.defineProperty(bounded, 'receivedEncodedLength', { get: () => received });
}
