// Package checkpoints is the command `checkpoint`: it lists, shows, exports, imports
// and deletes checkpoints, in folders that no job works with and in topics.
//
// It knows stores as savepoint.Archive and savepoint.Importer only. A store of
// another kind adds its flags to storeFlags, and itself to placeOf, place.open and
// place.importer; config.go finds the store of a pipeline.
package checkpoints
