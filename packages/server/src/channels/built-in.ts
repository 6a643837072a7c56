/** The channels that need no module, apart from those that have settings of their own. */
import { DISCORD } from './discord/channel.ts';
import type { ChannelKind } from './kind.ts';
import { PAGERDUTY } from './pagerduty/channel.ts';
import { SLACK } from './slack/channel.ts';
import { SMS } from './sms/channel.ts';
import { TEAMS } from './teams/channel.ts';
import { TELEGRAM } from './telegram/channel.ts';
import { WEB_PUSH } from './web_push/channel.ts';

export const BUILT_IN: readonly ChannelKind[] = [SLACK, TEAMS, DISCORD, TELEGRAM, PAGERDUTY, SMS, WEB_PUSH];
