package media

import (
	"bytes"
	"errors"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"slices"

	"github.com/bep/imagemeta"
	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"

	"mediagate/pdq"
)

// tally counts the views of a picture that were hashed, also those whose hashes
// were dropped as repetitions, by how that was done.
type tally struct{ exact, screened int }

// hashPicture decodes a picture that passed probe and hashes its views, the
// primary one first and only those that differ from it. It runs in a worker
// process only.
func hashPicture(content []byte, p probed, how Hashing) ([]Hash, tally, Refusal) {
	img, err := decode(p, content)
	if err != nil {
		return nil, tally{}, RefusedUnreadable
	}
	var hashes []Hash
	var made tally
	add := func(v Variant, view pdq.View) {
		h, quality, exact := hashView(img, view, how)
		if exact {
			made.exact++
		} else {
			made.screened++
		}
		same := func(other Hash) bool { return other.PDQ == h && other.Quality >= quality }
		if !slices.ContainsFunc(hashes, same) {
			hashes = append(hashes, Hash{PDQ: h, Quality: quality, Variant: v})
		}
	}
	add(Primary, pdq.View{})
	turn := orientation(content, p.format)
	if turn > 1 {
		add(Upright, pdq.View{Orientation: turn})
	}
	if o, ok := img.(interface{ Opaque() bool }); ok && !o.Opaque() {
		add(Black, pdq.View{Orientation: turn, Backdrop: pdq.OnBlack})
		add(White, pdq.View{Orientation: turn, Backdrop: pdq.OnWhite})
	}
	switch img.(type) {
	case *image.Paletted, *image.CMYK:
		add(Compatible, pdq.View{Raw: true})
	}
	return hashes, made, ""
}

// hashView also tells whether it went the exact way.
func hashView(img image.Image, v pdq.View, how Hashing) (h pdq.Hash, quality int, exact bool) {
	if how == Screening {
		return pdq.Screen(img, v)
	}
	h, quality = pdq.FromView(img, v)
	return h, quality, true
}

// decode calls the decoder by name: image.Decode would call whatever some
// dependency has registered.
func decode(p probed, content []byte) (image.Image, error) {
	r := bytes.NewReader(content)
	switch p.format {
	case formatJPEG:
		return jpeg.Decode(r)
	case formatPNG:
		return png.Decode(r)
	case formatGIF:
		img, err := gif.Decode(r)
		if err != nil {
			return nil, err
		}
		return onCanvas(img, p.width, p.height), nil
	case formatWebP:
		img, err := webp.Decode(r)
		if err != nil {
			return nil, err
		}
		fullRange(img)
		return img, nil
	case formatBMP:
		return bmp.Decode(r)
	case formatTIFF:
		return tiff.Decode(r)
	default:
		return nil, errors.ErrUnsupported
	}
}

// orientation returns the EXIF orientation, 1–8, or 1 if there is none that can
// be read: clients that cannot read it show the pixels as stored.
func orientation(content []byte, f format) int {
	formats := map[format]imagemeta.ImageFormat{
		formatJPEG: imagemeta.JPEG, formatPNG: imagemeta.PNG, formatWebP: imagemeta.WebP, formatTIFF: imagemeta.TIFF,
	}
	in, ok := formats[f]
	if !ok {
		return 1
	}
	found := 1
	// An error after the tag was read is the file's, and does not unread it.
	_, _ = imagemeta.Decode(imagemeta.Options{
		R:               bytes.NewReader(content),
		ImageFormat:     in,
		Sources:         imagemeta.EXIF,
		ShouldHandleTag: func(tag imagemeta.TagInfo) bool { return tag.Tag == "Orientation" && tag.Namespace == "IFD0" },
		HandleTag: func(tag imagemeta.TagInfo) error {
			if v, ok := tag.Value.(uint16); ok && 1 <= v && v <= 8 {
				found = int(v)
			}
			return imagemeta.ErrStopWalking
		},
	})
	return found
}
