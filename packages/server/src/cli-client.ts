/** A running server, as commands speak to it. */
import { CommandFailed, EXIT } from './cli-output.ts';

export interface ClientSettings {
  readonly url: string;
  readonly key: string | undefined;
}

export interface Client {
  /** Rejects with CommandFailed, whatever goes wrong. */
  readonly call: <T>(method: string, path: string, body?: unknown) => Promise<T>;
  /** All pages. */
  readonly list: <T>(path: string) => Promise<T[]>;
}

interface Problem {
  readonly code: string;
  readonly detail: string;
  readonly hint: string;
  readonly errors?: readonly { readonly pointer: string; readonly detail: string }[];
}

interface Page<T> {
  readonly data: readonly T[];
  readonly has_more: boolean;
  readonly next_cursor: string | null;
}

const TIMEOUT_MS = 30_000;

export function makeClient({ url, key }: ClientSettings): Client {
  if (key === undefined) {
    throw new CommandFailed('There is no API key to call the server with.', {
      code: 'key_missing',
      hint: 'Give --key, or set CARILLON_API_KEY or api.key.',
      exitCode: EXIT.misused,
    });
  }
  const call: Client['call'] = async <T>(method: string, path: string, body?: unknown) => {
    const response = await reach(url, path, {
      method,
      headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (response.ok) return (text === '' ? undefined : JSON.parse(text)) as T;
    throw refusal(response.status, text);
  };
  return {
    call,
    list: async <T>(path: string) => {
      const all: T[] = [];
      for (let after = ''; ; ) {
        const page = await call<Page<T>>('GET', `${path}?limit=100${after}`);
        all.push(...page.data);
        if (!page.has_more || page.next_cursor === null) return all;
        after = `&after=${encodeURIComponent(page.next_cursor)}`;
      }
    },
  };
}

async function reach(url: string, path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(`${url.replace(/\/+$/, '')}${path}`, { ...init, redirect: 'error', signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (error) {
    const { cause } = error as { cause?: { message?: string } };
    throw new CommandFailed(`The server at ${url} can't be reached: ${cause?.message ?? (error as Error).message}`, {
      code: 'unreachable',
      hint: 'Is it running there? --url, CARILLON_API_URL or api.url say where.',
      exitCode: EXIT.unreachable,
    });
  }
}

function refusal(status: number, text: string): CommandFailed {
  const problem = problemIn(text);
  if (!problem)
    return new CommandFailed(`The server answered ${status}.`, { code: `http_${status}`, hint: 'Is this the address of Carillon?' });
  const { code, detail, hint, errors = [] } = problem;
  const places = errors.map((error) => `\n  - ${error.detail}`).join('');
  return new CommandFailed(`${detail}${places}`, {
    code,
    hint,
    exitCode: status === 401 || status === 403 ? EXIT.unreachable : EXIT.failed,
  });
}

function problemIn(text: string): Problem | undefined {
  try {
    const problem = JSON.parse(text) as Partial<Problem> | null;
    return typeof problem?.code === 'string' ? (problem as Problem) : undefined;
  } catch {
    return undefined;
  }
}
