/** A further mail server, as `channels.email.providers` describes it. */
import { z } from 'zod';
import { checkMailbox } from '../../lib/mailbox.ts';

export const SmtpSettings = z
  .strictObject({
    host: z.string().min(1),
    port: z.int().min(1).max(65_535).default(587),
    security: z.enum(['starttls', 'tls', 'none']).default('starttls'),
    user: z.string().min(1).optional(),
    password: z.string().min(1).optional(),
    from: z.string().refine((text) => checkMailbox(text).ok, 'must be one mailbox'),
    max_connections: z.int().min(1).max(100).default(5),
  })
  .refine(({ user, password }) => (user === undefined) === (password === undefined), 'user and password belong together');
