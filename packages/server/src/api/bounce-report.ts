/** Reports as mail servers write them: delivery status (RFC 3464) and feedback (RFC 5965), whole or in part. */
import { bounceTypeOf, type BounceType } from '../domain/bounce.ts';
import { CarillonError } from '../domain/error.ts';

/** What `POST /v1/bounces` takes as JSON. */
export interface Report {
  readonly type: BounceType;
  readonly message_id?: string | undefined;
  readonly delivery_id?: string | undefined;
  readonly detail?: string | undefined;
}

const MAX_PARTS_DEEP = 10;
const MAX_DETAIL = 1_000;
/** Header fields with their continuation lines. */
type Fields = ReadonlyMap<string, string>;

/** Throws `invalid` for a mail that reports nothing, or nothing that went wrong. */
export async function readReportMail(bytes: Uint8Array): Promise<Report> {
  const { attachments } = await parse(bytes);
  const part = (...types: readonly string[]) => attachments.find(({ mimeType }) => types.includes(mimeType.toLowerCase()));
  const original = part('message/rfc822', 'message/global', 'text/rfc822-headers', 'message/global-headers');
  const messageId = original && blocksOf(textOf(original.content))[0]?.get('message-id');
  const status = part('message/delivery-status', 'message/global-delivery-status');
  if (status) return { ...readDeliveryStatus(textOf(status.content)), ...(messageId !== undefined && { message_id: messageId }) };
  const feedback = part('message/feedback-report');
  if (!feedback) throw refusal('It has neither a delivery status (RFC 3464) nor a feedback report (RFC 5965).');
  const kind = blocksOf(textOf(feedback.content))[0]?.get('feedback-type') ?? 'abuse';
  if (kind === 'not-spam') throw refusal('It reports that the mail was wanted.');
  return { type: 'complaint', message_id: messageId, detail: `feedback: ${kind}`.slice(0, MAX_DETAIL) };
}

/** The body of a `message/delivery-status` alone: what it was about is the envelope's id. */
export function readDeliveryStatus(text: string): Report {
  const [message, ...recipients] = blocksOf(text);
  const found = recipients.flatMap((fields) => {
    const status = {
      action: (fields.get('action') ?? '').toLowerCase(),
      status: fields.get('status') ?? '',
      diagnostic: fields.get('diagnostic-code') ?? '',
    };
    const type = bounceTypeOf(status);
    return type === undefined ? [] : [{ type, detail: `${status.status} ${status.diagnostic}`.trim().slice(0, MAX_DETAIL) }];
  });
  const [worst] = found.toSorted((a, b) => a.type.localeCompare(b.type)); // hard before soft
  if (!worst) throw refusal('It reports no failure: nothing in it was failed or delayed.');
  const envelopeId = message?.get('original-envelope-id');
  return { ...worst, ...(envelopeId !== undefined && { delivery_id: envelopeId }) };
}

async function parse(bytes: Uint8Array) {
  const { default: PostalMime } = await import('postal-mime'); // few ever get a report
  try {
    return await PostalMime.parse(bytes, { forceRfc822Attachments: true, maxNestingDepth: MAX_PARTS_DEEP });
  } catch {
    throw refusal('It can not be read as a mail.');
  }
}

function textOf(content: ArrayBuffer | Uint8Array | string): string {
  return typeof content === 'string' ? content : Buffer.from(content instanceof Uint8Array ? content : new Uint8Array(content)).toString();
}

/** Groups of fields, separated by blank lines; names in lower case, continued lines joined (RFC 5322 2.2.3). */
function blocksOf(text: string): Fields[] {
  const blocks = text
    .replace(/\r\n?/g, '\n')
    .trim()
    .split(/\n[ \t]*\n+/);
  return blocks.map((block) => {
    const lines = block.replace(/\n[ \t]+/g, ' ').split('\n');
    return new Map(
      lines.map((line) => [
        line
          .slice(0, Math.max(line.indexOf(':'), 0))
          .trim()
          .toLowerCase(),
        line.slice(line.indexOf(':') + 1).trim(),
      ]),
    );
  });
}

function refusal(detail: string): CarillonError {
  return new CarillonError('invalid', 'This is no report of a bounce.', { errors: [{ pointer: '', code: 'no_report', detail }] });
}
