/** The files of a model repository on the Hugging Face hub, or on a mirror with the same API. */
import { z } from "zod";
import { HubError } from "./hub-error.ts";

export const DEFAULT_ENDPOINT = "https://huggingface.co";

export interface Hub {
  /** Without a trailing slash. */
  readonly endpoint: string;
  readonly token: string | undefined;
}

export interface HubFile {
  /** Inside the repository, with forward slashes. */
  readonly path: string;
  readonly url: string;
  /** Bytes. */
  readonly size: number;
  /** Of large files the content's SHA-256, of others git's object id; hex. */
  readonly digest: { readonly kind: "sha256" | "git"; readonly value: string };
}

const repositorySchema = z.object({
  sha: z.string().regex(/^[0-9a-f]{40}$/),
  siblings: z.array(
    z.object({
      rfilename: z.string(),
      size: z.number().int().nonnegative(),
      blobId: z.string(),
      lfs: z.object({ sha256: z.string() }).nullish(),
    }),
  ),
});

/** What a checkpoint consists of; pictures, texts and the vision tower that nothing runs stay where they are. */
const WANTED =
  /(^|\/)(pytorch_model[^/]*\.(bin|json)|model[^/]*\.(safetensors|json)|kl16\.ckpt|unipic\.json|Qwen2\.5-1\.5B-Instruct\/[^/]+\.(json|txt|safetensors|bin))$/;
const UNWANTED = /(^|\/)siglip2/;

/** Every file that a checkpoint needs, of one commit. @param repository as in "Skywork/Skywork-UniPic-1.5B" */
export async function listFiles(hub: Hub, repository: string, revision: string): Promise<readonly HubFile[]> {
  if (!/^[\w.-]+\/[\w.-]+$/.test(repository)) {
    throw new HubError(`"${repository}" is no repository. Name one such as Skywork/Skywork-UniPic-1.5B.`);
  }
  const url = `${hub.endpoint}/api/models/${repository}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const response = await fetch(url, { headers: headersOf(hub) }).catch((cause) => {
    throw new HubError(`${hub.endpoint} cannot be reached. Check the network, or set HF_ENDPOINT to a mirror.`, {
      cause,
    });
  });
  if (!response.ok) throw refusal(response.status, `${repository} at ${revision}`);
  const parsed = repositorySchema.safeParse(await response.json().catch(() => undefined));
  if (!parsed.success) {
    throw new HubError(`${hub.endpoint} did not answer as a hub. Check HF_ENDPOINT.`, { cause: parsed.error });
  }
  const { sha, siblings } = parsed.data;
  const files = siblings.filter(({ rfilename }) => WANTED.test(rfilename) && !UNWANTED.test(rfilename));
  if (files.length === 0) throw new HubError(`${repository} holds no UniPic checkpoint.`);
  return files.map(({ rfilename, size, blobId, lfs }) => ({
    path: safePath(rfilename),
    url: `${hub.endpoint}/${repository}/resolve/${sha}/${rfilename.split("/").map(encodeURIComponent).join("/")}`,
    size,
    digest: lfs == null ? { kind: "git", value: blobId } : { kind: "sha256", value: lfs.sha256 },
  }));
}

export const headersOf = ({ token }: Hub): Record<string, string> =>
  token === undefined ? {} : { authorization: `Bearer ${token}` };

/** What a status means for the user. Not for those that are worth another try. */
export function refusal(status: number, what: string): HubError {
  if (status === 401 || status === 403) {
    return new HubError(`The hub does not let you read ${what} (${status}). Set HF_TOKEN to a token that may.`);
  }
  if (status === 404) return new HubError(`The hub has no ${what} (404). Check the name.`);
  return new HubError(`The hub answered ${status} for ${what}. Try again later.`);
}

/** A repository must not write outside of the folder. */
function safePath(path: string): string {
  if (path.startsWith("/") || path.split("/").includes("..") || path.includes("\\")) {
    throw new HubError(`The repository names a file "${path}", which would lie outside of the folder.`);
  }
  return path;
}
