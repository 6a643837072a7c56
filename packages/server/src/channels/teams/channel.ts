/** The channel `teams`: an Adaptive Card to a Workflows webhook of Microsoft Teams. */
import { CHAT_RETRY, type ChannelKind } from '../kind.ts';
import { noOptions } from '../options.ts';
import { renderTeams, type TeamsMessage } from './render.ts';
import { teamsWorkflow, type TeamsAddress } from './workflow.ts';

export const TEAMS: ChannelKind<TeamsAddress, TeamsMessage> = {
  name: 'teams',
  title: 'Microsoft Teams',
  address: { field: 'webhook_url', format: 'url', profile: null, words: 'the URL of a Workflows webhook', secret: true },
  lane: 'address',
  delaysMs: CHAT_RETRY,
  makers: {
    workflow: (options, tools) => {
      noOptions(options);
      return teamsWorkflow(tools);
    },
  },
  standard: 'workflow',
  ready: true,
  render: renderTeams,
  addressOf: (url) => ({ url }),
};
