// Command docgen renders the reference of every component from its specification,
// one Markdown page each, into docs/reference:
//
//	go run ./cmd/tidemark/docgen          # write
//	go run ./cmd/tidemark/docgen -check   # fail where a page is not up to date
package main
