package format

// Frame puts what goes around CBOR around it.
var Frame = frame
