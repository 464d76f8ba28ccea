package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"quorate/quorum/statement"
)

// ErrDigest says that a file is not the one that was asked for.
var ErrDigest = errors.New("the server gave a file with another digest")

// Download writes the file with the digest to w, and reads no more than limit
// bytes of it. Unlike other answers it is bounded in time by ctx only. When it
// returns nil, what was written has that digest.
func (c *Client) Download(ctx context.Context, d statement.SHA256, limit int64, w io.Writer) error {
	return c.download(ctx, "/v1/files/"+d.String(), d, limit, w)
}

// DownloadLog is [Client.Download] for the log of a statement.
func (c *Client) DownloadLog(ctx context.Context, id, d statement.SHA256, limit int64, w io.Writer) error {
	return c.download(ctx, "/v1/statements/"+id.String()+"/log", d, limit, w)
}

func (c *Client) download(ctx context.Context, path string, d statement.SHA256, limit int64, w io.Writer) error {
	resp, err := c.do(ctx, path, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return &unreachable{"read from " + c.Server(), err}
	case n > limit:
		return &badAnswer{fmt.Sprintf("server's answer to GET %s has more than %d bytes", path, limit)}
	case statement.SHA256(h.Sum(nil)) != d:
		return fmt.Errorf("%s: %w", d, ErrDigest)
	}
	return nil
}
