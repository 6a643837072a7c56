/** The channels that need no module, apart from those that have settings of their own. */
import { DISCORD } from './discord/channel.ts';
import type { ChannelKind } from './kind.ts';
import { SLACK } from './slack/channel.ts';
import { TEAMS } from './teams/channel.ts';
import { TELEGRAM } from './telegram/channel.ts';

export const BUILT_IN: readonly ChannelKind[] = [SLACK, TEAMS, DISCORD, TELEGRAM];
