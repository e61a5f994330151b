/** The settings of an S3 service that keeps pictures and uploads. */
import { z } from "zod";
import { StartupError } from "./errors.ts";

const ENDPOINT_EXPECTED = "Give an address with http or https and without a password, such as http://127.0.0.1:9000.";
const BUCKET_EXPECTED = "Give the name of a bucket: 3 to 63 small letters, digits, - and dots, such as pictures.";
const TIMEOUT_EXPECTED = "Give a whole number from 1 to 60, such as 10.";

const endpoint = z
  .url({ protocol: /^https?$/, error: ENDPOINT_EXPECTED })
  .refine((url) => URL.canParse(url) && !/[@?#]/.test(url), { error: ENDPOINT_EXPECTED })
  .transform((url) => url.replace(/\/+$/, ""))
  .optional();

/** Part of the environment. */
export const s3Variables = {
  /** Bucket that pictures and uploads are kept in, instead of DATA_DIR. */
  S3_BUCKET: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, { error: BUCKET_EXPECTED })
    .optional(),
  /** Key that may read, write, list and delete in it. */
  S3_ACCESS_KEY_ID: z.string().optional(),
  S3_SECRET_ACCESS_KEY: z.string().optional(),
  /** Of a temporary key. */
  S3_SESSION_TOKEN: z.string().optional(),
  /** Where the service is; AWS unless set. */
  S3_ENDPOINT: endpoint,
  S3_REGION: z
    .string()
    .regex(/^[a-z0-9-]+$/i, { error: "Give the name of a region, such as eu-central-1." })
    .default("us-east-1"),
  /** true: the bucket is the first part of the path. false: it is part of the host name. */
  S3_PATH_STYLE: z.enum(["true", "false"], { error: "Give true or false." }).default("true"),
  /** Where clients reach the same service; unless set, this server passes the bytes on. */
  S3_PUBLIC_ENDPOINT: endpoint,
  /** How long it may take to begin an answer. */
  S3_TIMEOUT_SECONDS: z.coerce
    .number({ error: TIMEOUT_EXPECTED })
    .int({ error: TIMEOUT_EXPECTED })
    .min(1, { error: TIMEOUT_EXPECTED })
    .max(60, { error: TIMEOUT_EXPECTED })
    .default(10),
};

export interface S3Settings {
  readonly bucket: string;
  readonly region: string;
  /** Without a trailing slash. */
  readonly endpoint: string;
  /** Without a trailing slash; undefined where clients do not reach the service. */
  readonly publicEndpoint: string | undefined;
  readonly isPathStyle: boolean;
  readonly accessKeyId: string;
  /** Never shown. */
  readonly secretAccessKey: string;
  /** Of a temporary key. Never shown. */
  readonly sessionToken: string | undefined;
  readonly timeoutMs: number;
}

/** Undefined where no S3 service is used. */
export function s3Of({
  S3_BUCKET: bucket,
  S3_ACCESS_KEY_ID: accessKeyId,
  S3_SECRET_ACCESS_KEY: secretAccessKey,
  S3_SESSION_TOKEN: sessionToken,
  S3_REGION: region,
  ...rest
}: z.infer<z.ZodObject<typeof s3Variables>>): S3Settings | undefined {
  const { S3_ENDPOINT: endpoint, S3_PUBLIC_ENDPOINT: publicEndpoint } = rest;
  if (bucket === undefined && accessKeyId === undefined && secretAccessKey === undefined && endpoint === undefined)
    return undefined;
  if (bucket === undefined || accessKeyId === undefined || secretAccessKey === undefined)
    throw new StartupError(
      "S3_BUCKET, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY go together: where pictures are kept, and the key to it. Set " +
        "all of them, or none and no S3_ENDPOINT either.",
    );
  return {
    bucket,
    region,
    endpoint: endpoint ?? `https://s3.${region}.amazonaws.com`,
    publicEndpoint,
    isPathStyle: rest.S3_PATH_STYLE === "true",
    accessKeyId,
    secretAccessKey,
    sessionToken,
    timeoutMs: rest.S3_TIMEOUT_SECONDS * 1000,
  };
}
