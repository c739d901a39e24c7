import { pictureHead, type SendPictureRequest, WorkerServiceService } from '@kvcapsule/contracts/worker';
import { type Upload, UploadClient } from '@kvcapsule/platform/rpc';
import { lendMemory } from '../heap.js';
import type { Call, PictureClient } from './picture-sender.js';

/** Sends pictures to one worker from where they lie, on a connection of their own that lives while there are any. */
export class PictureUploads implements PictureClient {
  readonly #client: UploadClient;

  constructor(address: string) {
    this.#client = new UploadClient(address, WorkerServiceService.sendPicture.path);
  }

  sendPicture(answered: () => void): Call {
    return new PictureCall(this.#client.begin(answered));
  }

  /** Breaks off what is under way. */
  close(): void {
    this.#client.close();
  }
}

class PictureCall implements Call {
  constructor(private readonly upload: Upload) {}

  write(message: SendPictureRequest): boolean {
    return this.upload.write(pictureHead(message), message.data, lendMemory(message.data));
  }

  once(event: 'drain', listener: () => void): void {
    this.upload.once(event, listener);
  }

  end(): void {
    this.upload.end();
  }

  cancel(): void {
    this.upload.cancel();
  }
}
