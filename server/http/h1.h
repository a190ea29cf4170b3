/* SPDX-License-Identifier: Apache-2.0 */
/* http/h1.h : HTTP/1.x as a codec, no I/O: heads (http-parser plus our own strictness) and chunked bodies. Folder
 * internal.
 *
 * Refused in a head: bare LF or CR, NUL and other controls, folded fields, space before the colon, both
 * Transfer-Encoding and Content-Length, more than one of either, any coding but one single "chunked", more than one
 * Host. */
#pragma once
#include "base/buf.h"
#include "http/headers.h"

/* Looks for the end of a head in bytes that grow. Zeroed at the start of a head. */
struct h1_scan {
    size_t line;   /* where the current line begins */
    size_t at;     /* scanned so far */
    size_t fields; /* header lines seen */
    size_t skip;   /* bytes of empty lines before the first line */
};
/* h1_scan() - @data is the head from its start, with more bytes than at the last call. Return: length of the head
 * including the empty line; 0 more is needed; RS_EINVAL not a head we take; RS_ETOOBIG longer than @max. */
int64_t h1_scan(struct h1_scan *s, const uint8_t *data, size_t len, size_t max);

struct h1_head {
    unsigned version;    /* 10, 11 */
    unsigned status;     /* responses */
    struct slice method; /* requests */
    struct slice target; /* requests: as sent */
    bool keep_alive;     /* by version and connection */
    bool chunked;
    bool has_length;
    bool expect_continue;
    uint64_t length; /* content-length */
    size_t n_headers;
};
/* h1_parse_request() - @head is a whole head found by h1_scan(); names are lowered in place; all slices point into
 * @head.
 * @headers: room for h1_scan.fields entries. Return 0 or RS_EINVAL. */
int h1_parse_request(uint8_t *head, size_t len, struct http_header *headers, size_t max, struct h1_head *ret,
                     struct err *err);
int h1_parse_response(uint8_t *head, size_t len, struct http_header *headers, size_t max, struct h1_head *ret,
                      struct err *err);

/* A chunked body. Zeroed at its start. */
struct h1_chunks {
    uint64_t left;
    uint32_t line; /* bytes in the current size line, or in the trailer */
    uint8_t state;
    uint8_t digits;
};
enum { H1_CHUNK_MORE = 0, H1_CHUNK_DATA = 1, H1_CHUNK_END = 2 };
/* h1_chunk_next() - take from the front of *@in. DATA: *@ret_data is a piece of the body; END: the body and its trailer
 * are complete, *@in is what follows; MORE: *@in is empty; RS_EINVAL: broken. */
int h1_chunk_next(struct h1_chunks *c, struct slice *in, struct slice *ret_data);

/* h1_digits() - a decimal number without sign or space; false when it is none or does not fit. */
bool h1_digits(struct slice s, uint64_t *ret);
