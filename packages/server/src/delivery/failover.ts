/** Which of a channel's providers is asked. Pure. */
import type { Provider, SendResult } from '../domain/channel.ts';
import { OUTCOMES, type DeliveryJob } from '../domain/delivery.ts';

/**
 * After an answer that may have been a yes the same one again: another would send what has perhaps arrived. After a refusal the
 * next in the list, and after the last one the first. One that was taken out of the settings is followed by the first.
 */
export function nextProvider(providers: readonly Provider[], last: DeliveryJob['last']): Provider | undefined {
  const at = last ? providers.findIndex(({ id }) => id === last.provider) : -1;
  if (at < 0) return providers[0];
  return last?.outcome === OUTCOMES.unknown ? providers[at] : providers[(at + 1) % providers.length];
}

/** Whether another provider may take it at once: there is one that has not been asked in this round, and the refusal was not about the message. */
export function movesOn(providers: readonly Provider[], asked: Provider, result: SendResult): boolean {
  if (providers.at(-1)?.id === asked.id) return false;
  return result.kind === 'transient' || (result.kind === 'permanent' && result.reason === 'unauthorized');
}
