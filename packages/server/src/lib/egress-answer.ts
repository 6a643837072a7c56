/** What is kept of an answer: its first 4 KiB as text, inflated where the far end compressed it. */
import { constants, createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from 'node:zlib';

export interface EgressResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The first 4 KiB, or as much as was asked for, read as UTF-8; NUL and what is no UTF-8 became U+FFFD. */
  readonly body: string;
}

const KEPT_BYTES = 4096;

/** `textBytes` are kept as text. `add` is false once `maxBytes` have come. `read` waits for nothing but inflating, which ends with what is kept. */
export function collectAnswer(maxBytes: number, textBytes: number = KEPT_BYTES) {
  const kept: Buffer[] = [];
  let status = 0;
  let headers: EgressResponse['headers'] = {};
  let keptBytes = textBytes;
  let seen = 0;
  return {
    begin: (code: number, answered: EgressResponse['headers']): void => {
      status = code;
      headers = answered;
      if (codingOf(answered) !== '') keptBytes = maxBytes; // 4 KiB of text may lie behind more bytes than that
    },
    add: (chunk: Buffer): boolean => {
      if (seen < keptBytes) kept.push(Buffer.from(chunk.subarray(0, keptBytes - seen))); // a copy: a view would hold the whole read buffer
      seen += chunk.length;
      return seen < maxBytes;
    },
    read: (): EgressResponse | Promise<EgressResponse> => {
      if (kept.length === 0) return { status, headers, body: '' };
      const coding = codingOf(headers);
      const bytes = Buffer.concat(kept);
      if (coding === '') return { status, headers, body: storable(bytes, textBytes) };
      return inflated(bytes, coding, textBytes).then((body) => ({ status, headers, body }));
    },
  };
}

function codingOf({ 'content-encoding': coding = '' }: EgressResponse['headers']): string {
  const text = String(coding).trim().toLowerCase();
  return text === 'identity' ? '' : text;
}

/** Some megabytes can come out of some kilobytes: the inflater is stopped as soon as it has given what is kept. */
async function inflated(bytes: Buffer, coding: string, textBytes: number): Promise<string> {
  const inflater = inflaterOf(coding, bytes);
  if (inflater === undefined) return `(not read: its content-encoding is ${JSON.stringify(coding.slice(0, 64))})`;
  const kept: Buffer[] = [];
  let seen = 0;
  try {
    inflater.end(bytes);
    for await (const chunk of inflater as AsyncIterable<Buffer>) {
      kept.push(chunk);
      seen += chunk.length;
      if (seen >= textBytes) break;
    }
  } catch {
    kept.push(Buffer.from(`(what follows is no ${coding})`)); // a far end's mistake in the text of its answer changes nothing else
  }
  return storable(Buffer.concat(kept).subarray(0, textBytes), textBytes);
}

/** Undefined for a coding that we do not read, and for several of them on top of each other. What was cut short inflates as far as it goes. */
function inflaterOf(coding: string, bytes: Buffer) {
  const finishFlush = constants.Z_SYNC_FLUSH;
  switch (coding) {
    case 'gzip':
    case 'x-gzip':
      return createGunzip({ finishFlush });
    case 'deflate': // with the zlib header or, as some send it, without
      return ((bytes[0] ?? 0) & 0x0f) === 8 ? createInflate({ finishFlush }) : createInflateRaw({ finishFlush });
    case 'br':
      return createBrotliDecompress({ finishFlush: constants.BROTLI_OPERATION_FLUSH });
    default:
      return undefined;
  }
}

/** Text for a timeline: PostgreSQL takes no NUL, and the cut may go through a character. */
function storable(bytes: Buffer, textBytes: number): string {
  const text = bytes.toString().replaceAll('\0', '\ufffd');
  return bytes.length < textBytes ? text : text.replace(/\ufffd$/, '');
}
