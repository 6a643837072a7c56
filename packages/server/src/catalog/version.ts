/** One version as it is used: what its definition says, and its content, in this thread or in one that can be killed. */
import type { Asked, EventTypeVersion, Filled } from '../domain/event-type.ts';
import { CarillonError } from '../domain/error.ts';
import { DIGEST_FILES } from './bundle.ts';
import { compileContent, type ChannelContent, type Content, type NotificationText } from './content.ts';
import type { Checked } from './data-schema.ts';
import type { Definition } from './definition-fields.ts';
import { DEFINITION_FILE } from './bundle.ts';
import { readDefinition, type Read } from './definition.ts';
import { compileRules, fill } from './fill.ts';
import type { Rendered, Scope } from './liquid.ts';
import { describeProblem, type Problem } from './problem.ts';
import type { Sandbox, Subject } from './sandbox.ts';
import type { Work } from './sandbox-worker.ts';

export interface Version {
  readonly type: string;
  readonly version: string;
  readonly definition: Definition;
  /** Whether what is shown depends on who reads. */
  readonly personal: boolean;
  /** Whether it has templates for digests. */
  readonly digests: boolean;
  readonly fill: (asked: Asked) => Promise<Filled>;
  /** In the order of the scopes. */
  readonly notifications: (
    scopes: readonly Scope[],
  ) => readonly Rendered<NotificationText>[] | Promise<readonly Rendered<NotificationText>[]>;
  /** Undefined: nothing is written for this channel. */
  readonly channel: (name: string, scope: Scope) => Rendered<ChannelContent> | undefined | Promise<Rendered<ChannelContent> | undefined>;
}

/** As it is in the database: whose it is says where it runs. */
export interface StoredVersion extends EventTypeVersion {
  readonly owner: string;
}

interface Runner {
  readonly check: (data: Asked['data']) => Checked | Promise<Checked>;
  readonly notifications: Version['notifications'];
  readonly channel: Version['channel'];
}

/**
 * Without a sandbox the content runs in this thread: for the operator's own files. Throws for what is no version: it was
 * checked before it was stored.
 */
export async function openVersion({ owner, type, version, files }: StoredVersion, sandbox: Sandbox | null): Promise<Version> {
  const subject = { owner, key: version, type, files };
  const read = sandbox ? await definedBy(sandbox, subject) : readDefinition(files[DEFINITION_FILE] ?? '', null);
  if (!read.ok) throw notAVersion(type, read.problems);
  const definition = read.value;
  const { rules, problems } = compileRules(definition, DEFINITION_FILE);
  if (problems.length > 0) throw notAVersion(type, problems);
  const runner = sandbox ? sandboxed(sandbox, subject) : inThisThread(subject, definition);
  return {
    type,
    version,
    definition,
    personal: Object.entries(files).some(([name, source]) => name.endsWith('.liquid') && /\buser\b|\|\s*t\b/.test(source)),
    digests: DIGEST_FILES.some((name) => name in files),
    fill: async (asked) => ({
      ...fill(rules, asked, { type, version, checked: await runner.check(asked.data) }),
      tenantTemplates: sandbox !== null,
    }),
    notifications: runner.notifications,
    channel: runner.channel,
  };
}

async function definedBy(sandbox: Sandbox, subject: Subject): Promise<Read<Definition>> {
  const ran = await sandbox.run<Read<Definition>>(subject, { kind: 'define' });
  if (ran.ok) return ran.value;
  throw new CarillonError('unavailable', `The event type ${subject.type} can't be read at the moment: ${ran.detail}`, { retryAfterS: 1 });
}

function notAVersion(type: string, problems: readonly Problem[]): Error {
  return new Error(`the stored event type ${type} can't be used: ${problems.map(describeProblem).join('; ')}`);
}

function inThisThread({ type, files }: Pick<Subject, 'type' | 'files'>, definition: Definition): Runner {
  const compiled = compileContent(type, files, definition);
  if (!compiled.ok) throw notAVersion(type, compiled.problems);
  const { content } = compiled;
  return { check: content.check, notifications: (scopes) => scopes.map(content.notification), channel: content.channel };
}

/** Of one order: its deadline is for all of them together. */
const MAX_READERS = 50;

function sandboxed(sandbox: Sandbox, subject: Subject): Runner {
  const run = <T>(work: Work) => sandbox.run<T>(subject, work);
  return {
    check: async (data) => {
      const ran = await run<ReturnType<Content['check']>>({ kind: 'check', data });
      if (ran.ok) return ran.value;
      throw new CarillonError('invalid', `The data can't be checked: ${ran.detail}`, {
        errors: [{ pointer: '/data', code: 'schema_failed', detail: ran.detail }],
      });
    },
    notifications: async (scopes) => {
      if (scopes.length === 1) return write(sandbox, subject, scopes);
      const orders = Array.from({ length: Math.ceil(scopes.length / MAX_READERS) }, (_, at) =>
        scopes.slice(at * MAX_READERS, (at + 1) * MAX_READERS),
      );
      return (await Promise.all(orders.map((order) => write(sandbox, subject, order)))).flat();
    },
    channel: async (name, scope) => {
      const ran = await run<Rendered<ChannelContent> | undefined>({ kind: 'channel', name, scope });
      return ran.ok ? ran.value : { ok: false, detail: ran.detail, warnings: [] };
    },
  };
}

/** What is stopped for all of them is tried for each alone: only whom it is stopped for gets nothing. */
async function write(sandbox: Sandbox, subject: Subject, scopes: readonly Scope[]): Promise<readonly Rendered<NotificationText>[]> {
  const ran = await sandbox.run<readonly Rendered<NotificationText>[]>(subject, { kind: 'notifications', scopes });
  if (ran.ok) return ran.value;
  if (scopes.length === 1) return [{ ok: false, detail: ran.detail, warnings: [] }];
  return (await Promise.all(scopes.map((scope) => write(sandbox, subject, [scope])))).flat();
}
