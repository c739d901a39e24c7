import { type handleClientStreamingCall, status } from '@grpc/grpc-js';
import type { SendPictureRequest, SendPictureResponse } from '@kvcapsule/contracts/worker';

import { type Arrival, notArrived, type PictureInbox } from '../pictures/picture-inbox.js';

const UNWANTED = { code: status.NOT_FOUND, details: 'nobody waits for this picture' };

/** Takes one picture in for whoever waits for it in the inbox. */
export function receivePicture(
  inbox: PictureInbox,
): handleClientStreamingCall<SendPictureRequest, SendPictureResponse> {
  return (call, callback) => {
    let arrival: Arrival | undefined;
    let answered = false;
    const answer = (error: typeof UNWANTED | null): void => {
      if (answered) return;
      answered = true;
      callback(error, {});
    };
    call.on('data', ({ ticket, totalBytes, data }: SendPictureRequest) => {
      if (answered) return;
      arrival ??= inbox.open(ticket, totalBytes);
      const fate = arrival?.take(data) ?? 'unwanted';
      if (fate !== 'more') answer(fate === 'whole' ? null : UNWANTED);
    });
    // a stream that breaks ends, too
    for (const event of ['end', 'cancelled', 'error']) {
      call.on(event, () => {
        arrival?.fail(notArrived('whole'));
        answer(UNWANTED);
      });
    }
  };
}
