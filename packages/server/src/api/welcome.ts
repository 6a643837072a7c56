/** What the first start says: where it listens, a key that nobody can read again, and three commands that work when pasted. */

export interface WelcomeInput {
  readonly url: string | undefined;
  readonly bootstrapKey: string | undefined;
  readonly production: boolean;
}

/** Empty when nothing listens. */
export function welcome({ url, bootstrapKey, production }: WelcomeInput): string {
  if (url === undefined) return '';
  const head = production ? `Carillon listens on ${url}\n` : `Carillon listens on ${url}\nWhat left: ${url}/dev/outbox\n`;
  if (bootstrapKey === undefined) return `${head}\n`;
  const key = `${head}\nAPI key (shown once): ${bootstrapKey}\n\n`;
  if (production) return key;
  return `${key}  export KEY=${bootstrapKey}

1. Watch Ada's inbox (leave it running):
  curl -sN ${url}/v1/inbox/stream -H "Authorization: Bearer $(curl -s -X POST ${url}/v1/users/ada/token -H "Authorization: Bearer $KEY" | sed 's/.*"token":"\\([^"]*\\)".*/\\1/')"

2. Tell her something, in the inbox, by mail and by webhook:
  curl -s ${url}/v1/notifications -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{"to":[{"user_id":"ada","email":"ada@example.org","webhook_url":"${url}/dev/receiver"}],"subject":"Disk almost full","body":"92 % used"}'

3. Ask why she was told, or not:
  curl -s ${url}/v1/events/$(curl -s "${url}/v1/events?limit=1" -H "Authorization: Bearer $KEY" | sed 's/.*"id":"\\(evt_[^"]*\\)".*/\\1/') -H "Authorization: Bearer $KEY"

`;
}
