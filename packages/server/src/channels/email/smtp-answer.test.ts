import { expect, test } from 'vitest';
import { fromSmtpFailure, type SmtpFailure } from './smtp-answer.ts';

const rcpt = { message: 'refused', code: 'EENVELOPE', command: 'RCPT TO' };
const data = { message: 'refused', code: 'EMESSAGE', command: 'DATA' };
const mail = { message: 'refused', code: 'EENVELOPE', command: 'MAIL FROM' };
const auth = { message: 'refused', code: 'EAUTH', command: 'AUTH PLAIN' };
const conn = { message: 'refused', code: 'EPROTOCOL', command: 'CONN' };

const replies: [Omit<SmtpFailure, 'responseCode'>, string, string, string][] = [
  [rcpt, '421 4.3.2 closing', 'transient', 'provider_error'],
  [rcpt, '450 4.7.1 greylisted', 'transient', 'provider_error'],
  [rcpt, '451 try later', 'transient', 'provider_error'],
  [rcpt, '452 4.2.2 full', 'transient', 'provider_error'],
  [rcpt, '503 out of order', 'transient', 'provider_error'],
  [rcpt, '550 no such user', 'permanent', 'address_rejected'],
  [rcpt, '550 5.1.1 no such user', 'permanent', 'address_gone'],
  [rcpt, '550-5.1.1 no such\n550 5.1.1 user', 'permanent', 'address_gone'],
  [rcpt, '551 5.1.6 moved', 'permanent', 'address_gone'],
  [rcpt, '556 5.1.10 null MX', 'permanent', 'address_gone'],
  [rcpt, '550 5.1.2 no such domain', 'permanent', 'address_rejected'],
  [rcpt, '551 moved', 'permanent', 'address_rejected'],
  [rcpt, '553 bad syntax', 'permanent', 'address_rejected'],
  [rcpt, '550 5.2.1 disabled', 'permanent', 'address_rejected'],
  [rcpt, '552 5.2.2 full', 'permanent', 'address_rejected'],
  [rcpt, '550 5.7.1 policy', 'permanent', 'content_rejected'],
  [rcpt, '554 5.7.1 relay denied', 'permanent', 'content_rejected'],
  [rcpt, '500 what', 'permanent', 'provider_error'],
  [rcpt, '530 5.7.0 authenticate first', 'transient', 'unauthorized'],
  [data, '550 spam', 'permanent', 'content_rejected'],
  [data, '550 5.1.1 no such user', 'permanent', 'address_gone'],
  [data, '535 5.7.8 expired', 'transient', 'unauthorized'],
  [data, '552 too large', 'permanent', 'content_rejected'],
  [data, '554 rejected', 'permanent', 'content_rejected'],
  [data, '554 5.6.0 bad MIME', 'permanent', 'content_rejected'],
  [data, '451 4.3.0 later', 'transient', 'provider_error'],
  [mail, '550 5.1.8 bad sender', 'permanent', 'provider_error'],
  [mail, '553 sender refused', 'permanent', 'provider_error'],
  [mail, '552 5.3.4 too large', 'permanent', 'content_rejected'],
  [mail, '530 5.7.0 authenticate first', 'transient', 'unauthorized'],
  [auth, '535 5.7.8 no', 'transient', 'unauthorized'],
  [auth, '534 5.7.9 weak', 'transient', 'unauthorized'],
  [auth, '538 5.7.11 encrypt first', 'transient', 'unauthorized'],
  [auth, '504 unknown mechanism', 'transient', 'unauthorized'],
  [auth, '550 blocked', 'transient', 'unauthorized'],
  [auth, '454 4.7.0 later', 'transient', 'provider_error'],
  [conn, '554 go away', 'transient', 'provider_error'],
  [{ ...conn, command: 'EHLO' }, '550 no', 'transient', 'provider_error'],
  [{ ...conn, command: 'EHLO' }, '504 5.5.2 your name', 'transient', 'provider_error'],
  [{ ...conn, command: 'STARTTLS' }, '554 5.7.3 no', 'transient', 'provider_error'],
  [{ ...conn, command: 'RSET' }, '550 no', 'transient', 'provider_error'],
  [{ ...conn, code: 'ETLS', command: 'STARTTLS' }, '502 unknown command', 'transient', 'unreachable'],
];
test.each(replies)('%o answered %j is %s as %s', (failure, response, kind, reason) => {
  const status = Number(response.slice(0, 3));
  const result = fromSmtpFailure({ ...failure, response, responseCode: status }, false);
  expect(result).toMatchObject({ kind, reason, status, response });
});

const silences: [string, string, string][] = [
  ['ETIMEDOUT', 'transient', 'timeout'],
  ['ECONNECTION', 'transient', 'unreachable'],
  ['ESOCKET', 'transient', 'unreachable'],
  ['EDNS', 'transient', 'unreachable'],
  ['ETLS', 'transient', 'unreachable'],
  ['EPROTOCOL', 'transient', 'provider_error'],
  ['EAUTH', 'transient', 'unauthorized'],
];
test.each(silences)('without a reply, %s is %s as %s, and unknown once the message had left', (code, kind, reason) => {
  expect(fromSmtpFailure({ message: 'm', code }, false)).toEqual({ kind, reason, detail: 'm' });
  expect(fromSmtpFailure({ message: 'm', code }, true)).toEqual({ kind: 'unknown', reason, detail: 'm' });
});

test('what is none of SMTP is left to the caller', () => {
  expect(fromSmtpFailure({ message: 'x is not a function' }, false)).toBeUndefined();
  expect(fromSmtpFailure({ message: 'm', code: 'ECONFIG' }, false)).toBeUndefined();
});
