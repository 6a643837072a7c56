/** A Workflows webhook of Microsoft Teams. Its host differs from tenant to tenant and is never looked at. 202 says taken over, not shown. */
import type { Message, Provider } from '../../domain/channel.ts';
import { exchange, urlSecrets, type ExchangeDeps } from '../exchange.ts';
import { TEAMS_MAX_BYTES, type TeamsMessage } from './render.ts';

export interface TeamsAddress {
  readonly url: string;
}

export function teamsWorkflow(deps: ExchangeDeps): Provider<TeamsAddress, TeamsMessage> {
  return {
    id: 'teams.workflow',
    send: ({ address: { url }, content }: Message<TeamsAddress, TeamsMessage>, signal) => {
      const body = JSON.stringify(content);
      const bytes = Buffer.byteLength(body);
      if (bytes > TEAMS_MAX_BYTES)
        return Promise.resolve({
          kind: 'permanent',
          reason: 'content_rejected',
          detail: `not sent: ${bytes} bytes, and Teams takes ${TEAMS_MAX_BYTES}`,
        });
      const judge = ({ status }: { status: number }) => (status === 200 || status === 202 ? ({ kind: 'accepted' } as const) : undefined);
      return exchange(deps, { url, body, secrets: urlSecrets(url), judge }, signal);
    },
    close: () => Promise.resolve(),
  };
}
