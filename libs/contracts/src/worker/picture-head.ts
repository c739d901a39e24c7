import { WireType } from '@bufbuild/protobuf/wire';
import { SendPictureRequest } from '../gen/kvcapsule/worker/v1/worker.js';

const DATA_FIELD = 3;
const NO_DATA = Buffer.alloc(0);

/** A message's bytes up to its data, whose own bytes follow and end it. */
export function pictureHead({ ticket, totalBytes, data }: SendPictureRequest): Uint8Array {
  return SendPictureRequest.encode({ ticket, totalBytes, data: NO_DATA })
    .tag(DATA_FIELD, WireType.LengthDelimited)
    .uint32(data.length)
    .finish();
}
