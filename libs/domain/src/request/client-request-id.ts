/** What a client may call its request: an id of these characters is harmless wherever it is printed. */
export const CLIENT_REQUEST_ID = /^[\w.-]{1,128}$/;
