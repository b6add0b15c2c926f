//! `message!`: one table per message, from which the value, its decoding, its encoding and its schema come.
//!
//! ```text
//! field: Type [versions] null [versions] tag N = default;
//! ```
//! What is left out: never null, not tagged, the type's default. A field that a version lacks takes its default when
//! decoded and is left out when encoded. Tagged fields stand in rising order of their tags and are never written at
//! their default (old clients mis-skip them). Fields after `+` are not on the wire: they say what a version
//! means, and [`Message::normalise`] sets them.

use alloc::borrow::Cow;

use super::codec::{Field, Malformed};

/// A whole message: what its versions mean, beyond which fields they have.
pub(crate) trait Message: Field + Clone {
    /// Puts what a version means into fields, after decoding.
    fn normalise(&mut self, _version: i16) -> Result<(), Malformed> {
        Ok(())
    }

    /// The same message in the terms of a version, before encoding.
    fn in_terms_of(&self, _version: i16) -> Cow<'_, Self> {
        Cow::Borrowed(self)
    }
}

macro_rules! message {
    ($(
        $(#[$doc:meta])*
        $name:ident {
            $($field:ident: $ty:ty [$($versions:tt)+] $(null [$($null:tt)+])? $(tag $tag:literal)? $(= $default:expr)?;)*
        } $(+ { $($(#[$extra_doc:meta])* $extra:ident: $extra_ty:ty = $extra_default:expr;)* })?
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                #[allow(missing_docs, reason = "Kafka's message definitions describe their fields")]
                pub $field: $ty,
            )*
            $($($(#[$extra_doc])* pub $extra: $extra_ty,)*)?
        }

        impl Default for $name {
            fn default() -> $name {
                $name {
                    $($field: $crate::wire::table::message!(@default $ty $(, $default)?),)*
                    $($($extra: $extra_default,)*)?
                }
            }
        }

        impl $name {
            /// The table of this message.
            pub const SCHEMA: &'static [$crate::wire::schema::Field] = &[$($crate::wire::schema::Field {
                name: stringify!($field),
                ty: <$ty as $crate::wire::codec::Field>::TYPE,
                present: |version| matches!(version, $($versions)+),
                nullable: |_version| $crate::wire::table::message!(@null _version $($($null)+)?),
                tag: $crate::wire::table::message!(@tag $($tag)?),
                default: || $crate::wire::codec::plain::<$ty>(&$crate::wire::table::message!(@default $ty $(, $default)?)),
            }),*];
        }

        impl $crate::wire::codec::Field for $name {
            const TYPE: $crate::wire::schema::Type = $crate::wire::schema::Type::Struct($name::SCHEMA);
            const LEAST: usize = 1;

            fn decode(
                r: &mut $crate::wire::codec::Reader,
                form: $crate::wire::codec::Form,
            ) -> Result<$name, $crate::wire::codec::Malformed> {
                #[allow(unused_mut, reason = "a structure may have no fields")]
                let mut message = $name::default();
                $($crate::wire::table::message!(
                    @decode message r form $field [$($versions)+] [$($($null)+)?] $($tag)?
                );)*
                if form.flexible {
                    r.tags(|_tag, _r| {
                        $($crate::wire::table::message!(
                            @decode_tag message _r form _tag $field [$($versions)+] [$($($null)+)?] $($tag)?
                        );)*
                        Ok(false)
                    })?;
                }
                Ok(message)
            }

            fn encode(&self, w: &mut $crate::wire::codec::Writer, form: $crate::wire::codec::Form) {
                $($crate::wire::table::message!(
                    @encode self w form $field [$($versions)+] [$($($null)+)?] $($tag)?
                );)*
                if form.flexible {
                    #[allow(unused_mut, reason = "not every structure has tagged fields")]
                    let mut tags = $crate::wire::codec::Tags::default();
                    $($crate::wire::table::message!(
                        @encode_tag self tags form $field $ty [$($versions)+] [$($($null)+)?]
                        [$($tag)?] [$($default)?]
                    );)*
                    tags.end(w);
                }
            }

            fn errors(&self, _: &str, _seen: &mut dyn FnMut(i16)) {
                $($crate::wire::codec::Field::errors(&self.$field, stringify!($field), _seen);)*
            }
        }
    )*};

    (@default $ty:ty) => { <$ty as Default>::default() };
    (@default $ty:ty, $default:expr) => { $default };

    (@null $version:ident) => { false };
    (@null $version:ident $($null:tt)+) => { matches!($version, $($null)+) };

    (@tag) => { None };
    (@tag $tag:literal) => { Some($tag) };

    (@form $form:ident) => { $form.nullable(false) };
    (@form $form:ident $($null:tt)+) => { $form.nullable(matches!($form.version, $($null)+)) };

    (@decode $m:ident $r:ident $form:ident $field:ident [$($versions:tt)+] [$($null:tt)*]) => {
        if matches!($form.version, $($versions)+) {
            $m.$field = $crate::wire::codec::Field::decode($r, $crate::wire::table::message!(@form $form $($null)*))?;
        }
    };
    (@decode $m:ident $r:ident $form:ident $field:ident [$($versions:tt)+] [$($null:tt)*] $tag:literal) => {};

    (@decode_tag $m:ident $r:ident $form:ident $at:ident $field:ident [$($v:tt)+] [$($null:tt)*]) => {};
    (@decode_tag $m:ident $r:ident $form:ident $at:ident $field:ident [$($v:tt)+] [$($null:tt)*] $tag:literal) => {
        if $at == $tag && matches!($form.version, $($v)+) {
            $m.$field = $crate::wire::codec::Field::decode($r, $crate::wire::table::message!(@form $form $($null)*))?;
            return Ok(true);
        }
    };

    (@encode $m:ident $w:ident $form:ident $field:ident [$($versions:tt)+] [$($null:tt)*]) => {
        if matches!($form.version, $($versions)+) {
            $crate::wire::codec::Field::encode(&$m.$field, $w, $crate::wire::table::message!(@form $form $($null)*));
        }
    };
    (@encode $m:ident $w:ident $form:ident $field:ident [$($versions:tt)+] [$($null:tt)*] $tag:literal) => {};

    (@encode_tag $m:ident $t:ident $form:ident $field:ident $ty:ty [$($v:tt)+] [$($null:tt)*] [] [$($d:expr)?]) => {};
    (@encode_tag $m:ident $t:ident $form:ident $field:ident $ty:ty [$($v:tt)+] [$($null:tt)*] [$tag:literal] [$($d:expr)?]) => {
        if matches!($form.version, $($v)+) && $m.$field != $crate::wire::table::message!(@default $ty $(, $d)?) {
            $t.put($tag, &$m.$field, $crate::wire::table::message!(@form $form $($null)*));
        }
    };
}
pub(crate) use message;
