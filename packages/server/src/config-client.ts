/** Where commands find a running server. */
import { optional, setting, text } from './lib/setting.ts';

const isHttpUrl = (value: string): boolean => URL.canParse(value) && /^https?:$/.test(new URL(value).protocol);

export const CLIENT_SETTINGS = [
  setting('api.url', text('an http or https address', isHttpUrl), [
    'http://127.0.0.1:7070',
    'Where `carillon push`, `pull`, `diff` and `preview` find the server. `--url` on the command line.',
  ]),
  optional('api.key', text('an API key'), 'What they call it with. `--key` on the command line.', { secret: true }),
] as const;
