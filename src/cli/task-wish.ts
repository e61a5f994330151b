/** What the command line asks for, in the form of the API's TaskInput. The server has a default for what is left out. */

/** A picture that the server knows. */
export type PictureName = { readonly imageId: string } | { readonly uploadId: string };

/** Of every task that draws. */
export interface DrawingWish {
  readonly unconditionalPrompt?: string | undefined;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  readonly count?: number | undefined;
  readonly steps?: number | undefined;
  readonly guidanceScale?: number | undefined;
  readonly temperature?: number | undefined;
  /** A value of the API's enum. */
  readonly speed?: string | undefined;
  readonly seed?: string | undefined;
}

export interface ReadingWish {
  readonly question: string;
  readonly size?: number | undefined;
  readonly maxTokens?: number | undefined;
  readonly temperature?: number | undefined;
  readonly topP?: number | undefined;
  readonly seed?: string | undefined;
}

export type TaskWish =
  | { readonly textToImage: DrawingWish & { readonly prompt: string } }
  | {
      readonly imageEdit: DrawingWish & {
        readonly image: PictureName;
        readonly instruction: string;
        readonly mask?: PictureName | undefined;
      };
    }
  | {
      readonly imageVariation: DrawingWish & {
        readonly image: PictureName;
        readonly strength?: number | undefined;
        readonly prompt?: string | undefined;
      };
    }
  | { readonly imageToText: ReadingWish & { readonly image: PictureName } };
