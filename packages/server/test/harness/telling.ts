import type { RenderContext, Telling } from '../../src/domain/channel.ts';

export const CONTEXT: RenderContext = { productName: 'Carillon' };

export function telling(more: Partial<Telling> = {}): Telling {
  return {
    eventId: 'evt_1',
    notificationId: 'ntf_1',
    userId: 'ada',
    type: 'disk.full',
    acceptedAt: new Date('2026-01-01T00:00:00.120Z'),
    subject: 'Disk almost full',
    body: '92 % used',
    severity: 'high',
    tags: ['system'],
    actionUrl: 'https://app.example.org/disks/7',
    metadata: {},
    data: {},
    ...more,
  };
}
