/** What the templates of an event's type made for one delivery. */

/** What a type's templates made for one channel. A part without a template is undefined. */
export interface Written {
  /** For a destination, which has no notification to take them from. */
  readonly notification?: { readonly subject: string; readonly body: string } | undefined;
  readonly html: string | undefined;
  readonly text: string | undefined;
  /** The JSON that the channel's provider takes. */
  readonly payload: unknown;
  /** What the channel's templates missed. */
  readonly warnings?: readonly string[] | undefined;
}

/** A template that could not be rendered, within its limits or at all. No attempt can succeed until somebody changes it. */
export class TemplateFailed extends Error {}
