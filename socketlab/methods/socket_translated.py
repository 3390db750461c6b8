"""socket_translated: SOCKET on translated pictures, a comparison that reviewers asked for."""

from typing import ClassVar

from socketlab.methods.socket import Socket, SocketOptions
from socketlab.methods.translator_options import TranslatorOptions


class SocketTranslatedOptions(SocketOptions, TranslatorOptions):
    """SOCKET's options, and whose translator."""


class SocketTranslated(Socket):
    """SOCKET with T(x) in the place of x: the target model is T, frozen, and what follows it."""

    name = "socket_translated"
    needs_translator = True
    several_sources: ClassVar[bool] = False
    options_model: ClassVar[type[SocketTranslatedOptions]] = SocketTranslatedOptions
    options: SocketTranslatedOptions

    def prepare(self) -> None:
        """Both networks see one-channel images through the translator."""
        for member in (*self.teacher.members, *self.student.members):
            member.translate_with(self.given_translator())
        super().prepare()


METHOD = SocketTranslated
